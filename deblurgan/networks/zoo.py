"""The networks by name: how each is built from options as a settings or weight file holds them."""

import difflib
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from deblurgan.errors import InputError
from deblurgan.networks import maxim, nafnet, paper_generator, patchgan_discriminator, tutorial, unet_generator
from deblurgan.networks.maxim import SPARE as MAXIM_SPARE
from deblurgan.networks.maxim import reductions as maxim_reductions
from deblurgan.networks.maxim import size_multiple as maxim_multiple
from deblurgan.networks.nafnet import size_multiple as nafnet_multiple
from deblurgan.networks.paper import SIZE_MULTIPLE as PAPER_MULTIPLE

ANY_SIZE = (None, None, 3)
OPTIONAL_INTS = ("local_window", "output_channels")
NO_OPTIONS = ("dtype", "name", "initial")  # keywords of builders that no file holds
MAXIM_SIZES = (
    "depth",
    "high_resolutions",
    "block_size",
    "grid_size",
    "low_block_size",
    "low_grid_size",
)


@dataclass(frozen=True)
class Network:
    """A network that has a name.

    Attributes:
        kind: what it is, in words.
        builder: the function that builds it; its keywords are the options.
        multiple: from options (all of them) to what the sides of the images must be multiples of.
        switches: options that change what the network computes after training, or during it, but not its weights, so
            that they may be chosen anew with each use of a weight file.
        nested: whether other values of these may leave weights unused, as the first stages of a network do.
        in_training: options that only training has a use for; whoever restores takes the defaults.
        spare: pattern of the names of layers that only training has, which start at zero where a file lacks them.
        reductions: from options (all of them) to how many times smaller than its input each picture is that the
            network gives. The last one of full size is the restored picture; the others are for training.
    """

    kind: str
    builder: Callable[..., keras.Model]
    multiple: Callable[[Mapping[str, Any]], int]
    switches: tuple[str, ...] = ()
    nested: bool = False
    in_training: tuple[str, ...] = ()
    spare: str = ""
    reductions: Callable[[Mapping[str, Any]], tuple[int, ...]] = lambda options: (1,)

    @property
    def defaults(self) -> dict[str, Any]:
        """The options and their default values."""
        parameters = inspect.signature(self.builder).parameters
        return {key: value.default for key, value in parameters.items() if key not in NO_OPTIONS}


@dataclass(frozen=True)
class Identity:
    """Which network weights belong to: its role, "generator" or "critic", its name, and its options."""

    role: str
    name: str
    options: dict[str, Any]


GENERATORS = {
    "tutorial": Network(
        "tutorial generator",
        tutorial.generator_model,
        lambda options: tutorial.SIZE_MULTIPLE,
        ("image_shape", "dropout"),
    ),
    "paper": Network(
        "DeblurGAN generator",
        paper_generator,
        lambda options: PAPER_MULTIPLE,
        ("image_shape", "dropout", "test_dropout", "statistics"),
    ),
    "unet": Network(
        "pix2pix U-Net generator",
        unet_generator,
        lambda options: 2 ** options["num_downs"],
        ("image_shape", "dropout"),
    ),
    "nafnet": Network(
        "NAFNet generator",
        nafnet,
        lambda options: nafnet_multiple(options["encoder_blocks"], options["space_to_depth"]),
        ("image_shape", "dropout", "local_window"),
    ),
    "maxim": Network(
        "MAXIM generator",
        maxim,
        lambda options: maxim_multiple(*(options[name] for name in MAXIM_SIZES)),
        ("image_shape", "dropout", "stages"),
        nested=True,
        in_training=("outputs",),
        spare=MAXIM_SPARE,
        reductions=lambda options: maxim_reductions(options["stages"], options["scales"], options["outputs"]),
    ),
}
CRITICS = {
    "tutorial": Network(
        "tutorial discriminator",
        tutorial.discriminator_model,
        lambda options: 1,
        ("legacy_batchnorm", "sigmoid"),
    ),
    "patchgan": Network(
        "PatchGAN discriminator",
        patchgan_discriminator,
        lambda options: 1,
        ("image_shape", "padding", "sigmoid"),
    ),
}
ROLES = {"generator": GENERATORS, "critic": CRITICS}


def build_generator(name: str, options: Mapping[str, Any] | None = None, *, dtype: Any = None) -> keras.Model:
    """Build the generator `name`, for images of any size unless `options` has an `image_shape`.

    Args:
        name: "tutorial", "paper", "unet", "nafnet" or "maxim".
        options: keywords of the builder; lists, as JSON has them, stand for tuples.
        dtype: dtype policy of the layers; Keras' global one when None.

    Raises:
        InputError: a name or option that does not exist (the message suggests the nearest), or a value that makes
            no network.
    """
    return build("generator", name, options, dtype=dtype)


def build_critic(name: str, options: Mapping[str, Any] | None = None, *, dtype: Any = None) -> keras.Model:
    """Build the critic `name`, "tutorial" or "patchgan"; otherwise as `build_generator`.

    The builder's `image_shape` is the default. With 6 channels a critic is conditional.
    """
    return build("critic", name, options, dtype=dtype)


def build(role: str, name: str, options: Mapping[str, Any] | None = None, *, dtype: Any = None) -> keras.Model:
    """Build a network by its role, "generator" or "critic", and name; see `build_generator` and `build_critic`."""
    keywords = checked_options(role, name, options or {})
    if role == "generator":
        keywords = {"image_shape": ANY_SIZE, **keywords}
    return find(role, name).builder(**keywords, dtype=dtype)


def find(role: str, name: str) -> Network:
    """Return the network `name` of a role, "generator" or "critic", or raise InputError with the nearest name."""
    if role not in ROLES:
        raise InputError(f"role: expected one of {', '.join(ROLES)}, received {role!r}")
    if name not in ROLES[role]:
        raise InputError(f"network: expected a {role}, one of {_known(name, ROLES[role])}, received {name!r}")
    return ROLES[role][name]


def checked_options(role: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` with tuples for lists; raise InputError for one that is unknown or of another type."""
    defaults = find(role, name).defaults
    checked = {}
    for option, value in options.items():
        if option not in defaults:
            raise InputError(f"{option}: expected an option of {name}, one of {_known(option, defaults)}")
        value = tuple(value) if isinstance(value, list) else value
        check_type(option, value, defaults[option])
        checked[option] = value
    return checked


def size_multiple(name: str, options: Mapping[str, Any] | None = None) -> int:
    """Return what the sides of images for a generator must be multiples of; raise InputError as `build_generator`."""
    network = find("generator", name)
    return network.multiple({**network.defaults, **checked_options("generator", name, options or {})})


def reductions(name: str, options: Mapping[str, Any] | None = None) -> tuple[int, ...]:
    """Return the `Network.reductions` of a generator; raise InputError as `build_generator`."""
    network = find("generator", name)
    return network.reductions({**network.defaults, **checked_options("generator", name, options or {})})


def for_restoring(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a generator's options without those that only training has a use for."""
    in_training = find("generator", name).in_training
    return {option: value for option, value in options.items() if option not in in_training}


def check_type(option: str, value: Any, default: Any) -> None:
    """Raise InputError unless `value` is of the type of `default`: an int will do for a float, a list for a tuple."""
    kinds: tuple[type, ...] = {float: (int, float), tuple: (list, tuple)}.get(type(default), (type(default),))
    if option in OPTIONAL_INTS:
        kinds = (int, type(None))
    if type(value) not in kinds:
        example = "an int or None" if option in OPTIONAL_INTS else f"a value like {default!r}"
        raise InputError(f"{option}: expected {example}, received {value!r}")


def _known(name: str, names: Collection[str]) -> str:
    """The names, and which of them was probably meant."""
    nearest = difflib.get_close_matches(str(name), names, 1)
    return ", ".join(names) + (f" (did you mean {nearest[0]}?)" if nearest else "")
