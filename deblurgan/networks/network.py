"""What a network says of itself: its entry in the zoo, and what weights from elsewhere turn out to be."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from deblurgan.errors import InputError

Tensors = Mapping[str, np.ndarray]

NO_OPTIONS = ("dtype", "name", "initial", "frozen")  # keywords of builders that no file holds


@dataclass(frozen=True)
class Found:
    """A network that tensors with names of others' make.

    Attributes:
        kind: what it is, in words.
        options: the builder's keywords that the tensors tell.
        assumed: the builder's keywords that they leave open, with the values that are taken unless others are chosen.
        build: returns the network with these weights; takes other values for what is `assumed`, `dtype` and `name`.
            It raises WeightsError where a tensor is missing, left over or of another shape, which it names, and
            InputError for a value that makes no network.
        certain: whether the tensors tell all that the network computes, but for its switches.
        freezes: whether `build` takes `frozen` besides, for weights that are constants.
    """

    kind: str
    options: dict[str, Any]
    assumed: dict[str, Any]
    build: Callable[..., keras.Model]
    certain: bool = False
    freezes: bool = False


@dataclass(frozen=True)
class Network:
    """A network of the zoo.

    Attributes:
        name: what it is called in recipes and files.
        role: "generator" (picture in, picture out), "critic", or "sampler" (noise in, picture out).
        kind: what it is, in words.
        family: the same where it is not known which of several it is.
        builder: the function that builds it; its keywords are the options.
        multiple: from options (all of them) to what the sides of the images must be multiples of.
        switches: options that change what the network computes after training, or during it, but not its weights, so
            that they may be chosen anew with each use of a weight file.
        nested: whether other values of these may leave weights unused, as the first stages of a network do.
        in_training: options that only training has a use for; whoever restores takes the defaults.
        spare: pattern of the names of layers that only training has, which start at zero where a file lacks them.
        reductions: from options (all of them) to how many times smaller than its input each picture is that the
            network gives. The last one of full size is the restored picture; the others are for training.
        recognise: from tensors by the names of others to what they make, or None where they are not this network's;
            None where nobody else's are known. It raises WeightsError where they are, and do not fit.
        convolutional: whether it is of convolutions alone, at which other engines may be faster; see
            `engines.fastest`.
        in_order: whether its files, of many forms, are known by the order of their tensors; see `weights.tutorial`.
    """

    name: str
    role: str
    kind: str
    builder: Callable[..., keras.Model]
    multiple: Callable[[Mapping[str, Any]], int] = lambda options: 1
    switches: tuple[str, ...] = ()
    nested: bool = False
    in_training: tuple[str, ...] = ()
    spare: str = ""
    reductions: Callable[[Mapping[str, Any]], tuple[int, ...]] = lambda options: (1,)
    recognise: Callable[[Tensors], Found | None] | None = None
    family: str = ""
    convolutional: bool = False
    in_order: bool = False

    @property
    def defaults(self) -> dict[str, Any]:
        """The options and their default values."""
        return {name: value for name, value in self._keywords.items() if name not in NO_OPTIONS}

    @property
    def model_name(self) -> str:
        """What its models are called, by which a `.keras` archive tells whose it is."""
        return self._keywords["name"]

    def check(self, option: str, value: Any) -> None:
        """Raise InputError unless `value` is of the option's type: an int will do for a float, a list for a tuple."""
        keyword = inspect.signature(self.builder).parameters[option]
        default = keyword.default
        optional = next((kind for kind in (bool, int, float) if keyword.annotation == kind | None), None)
        kind = optional or type(default)
        kinds: tuple[type, ...] = {float: (int, float), tuple: (list, tuple)}.get(kind, (kind,))
        if type(value) not in kinds and not (optional and value is None):
            example = f"a value like {default!r}"
            if optional is not None:
                example = f"{'an' if optional is int else 'a'} {optional.__name__} or None"
            raise InputError(f"{option}: expected {example}, received {value!r}")

    @property
    def _keywords(self) -> dict[str, Any]:
        return {name: value.default for name, value in inspect.signature(self.builder).parameters.items()}


def dimensions(shape: tuple[int, ...]) -> str:
    """Return a shape in words."""
    return "x".join(map(str, shape)) or "a single value"
