"""Every kind of weight file behind one door: say what a file holds, build the network it fits, convert it.

`labelled` reads those that say what network they belong to, `hdf5` what else Keras writes for the tutorial's
networks, `torch_file` what PyTorch writes, `flax` and `tfjs` the public forms of MAXIM; which network's the tensors
of these three are, `networks.zoo` tells. Nothing in a file is executed; a `.keras` archive of another
network is loaded in Keras' safe mode.
"""

import itertools
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deblurgan.errors import FileError, InputError, WeightsError, prefixed
from deblurgan.files import atomic_path, folder_beside, reason, shown
from deblurgan.networks import zoo
from deblurgan.untrusted import DAMAGE, bounded_weights, check_classes, from_json, most_unpacked, opened
from deblurgan.weights import (
    catalogue,
    checkpoint,
    configurable,
    flax,
    hdf5,
    labelled,
    tf_checkpoint,
    tfjs,
    torch_file,
    tutorial,
)

TORCH_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin")
SAVED_MODEL = "saved_model.pb"
STAGE = "stage_{}.safetensors"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class WeightFile:
    """A weight file that has been looked into.

    Attributes:
        path: the file.
        format: the kind of file.
        entry: the network in `zoo`.
        network: what it holds, e.g. "tutorial generator" or "CycleGAN ResNet generator".
        options: the network's hyper-parameters that the tensors tell, or the file itself.
        assumed: hyper-parameters that they leave open, with the values that are taken unless overridden.
        tensors: name and array of each tensor.
        freezes: whether `builder` takes `frozen`.
        named: its role, name and options, where the file or its tensors tell them all.
    """

    path: Path
    format: str
    entry: zoo.Network = field(repr=False)
    network: str
    options: dict[str, Any]
    tensors: list[tuple[str, np.ndarray]]
    builder: Callable[..., keras.Model] = field(repr=False)
    assumed: dict[str, Any] = field(default_factory=dict)
    freezes: bool = False
    named: "labelled.LabelledWeights | zoo.Identity | None" = field(default=None, repr=False)

    @property
    def is_generator(self) -> bool:
        """Whether the network restores pictures."""
        return self.entry.role == "generator"

    @property
    def left_open(self) -> dict[str, Any]:
        """What `build` may be told: what `assumed` holds, and what only training has a use for."""
        if self.named is None:
            return self.assumed
        return {**{name: self.entry.defaults[name] for name in self.entry.in_training}, **self.assumed}

    @property
    def parameters(self) -> int:
        """The number of values in all tensors."""
        return sum(tensor.size for _, tensor in self.tensors)

    def build(self, *, dtype: Any = None, frozen: bool = False, **overrides: Any) -> keras.Model:
        """Return the network with these weights, for images of any size where it can.

        Args:
            dtype: dtype policy of the layers; Keras' global one when None. A `.keras` archive of another network than
                the tutorial's keeps the one that it was saved with.
            frozen: whether they may be constants, for restoring alone; a network of thousands is there sooner so.
            overrides: values for what `left_open` holds, e.g. `residual=False`.

        Raises:
            WeightsError: a tensor does not fit; the message names it and both shapes.
            InputError: an override that this file does not leave open, or a value of another type.
        """
        for name, value in overrides.items():
            if name not in self.left_open:
                known = ", ".join(self.assumed) or "nothing"
                raise InputError(f"{name}: no assumption here; what a {self.network} leaves open: {known}")
            self.entry.check(name, value)
        return self.builder(dtype=dtype, **{"frozen": frozen} if self.freezes else {}, **overrides)


def read(path: str | os.PathLike[str], *, stages: int | None = None) -> WeightFile:
    """Look into a weight file of any kind.

    Known are Keras 3 `.weights.h5` and `.keras`, HDF5 of Keras 1 and 2 (`save_weights` and `model.save`), PyTorch's
    `.pth` of either format, `.safetensors`, MAXIM as its authors' `checkpoint.npz` and as a TensorFlow.js graph model
    (`model.json`, its folder, or a `.tgz`), and the SavedModel folders and TensorFlow checkpoints (named without
    `.index`) that `convert` writes. What the file is decides, not its name. A folder with a `stage_0.safetensors`
    and so on holds MAXIM, a stage in each.

    Args:
        path: the file or folder; or a name, see `catalogue.resolve`.
        stages: look only at so many stages, where each has a file of its own.

    Raises:
        FileError: missing, unreadable, damaged, or no weight file.
        WeightsError: a weight file of no network that is known here; the message says what was found.

    Examples:
        >>> from deblurgan.weights.any_file import read
        >>> found = read("generator.h5")
        >>> found.network, found.is_generator
        ('tutorial generator', True)
    """
    path = catalogue.resolve(path)
    if os.path.isfile(path / STAGE.format(0)):
        return _read_stages(path, stages)
    content = _read(path.with_suffix("") if path.suffix == ".index" else path)
    for name, tensor in content.tensors:
        if tensor.dtype.kind in "OSUVMm" and tensor.dtype.name != "bfloat16":
            raise WeightsError(f"{shown(path)}: expected numbers, found {tensor.dtype.name} in {shown(name)}")
        if not np.isfinite(tensor).all():
            raise WeightsError(f"{shown(path)}: expected finite values, found NaN or infinity in {shown(name)}")
    return content


def _read(path: Path) -> WeightFile:
    if os.path.isfile(path / SAVED_MODEL):
        return _read_tensorflow(path, "TensorFlow SavedModel", path / "variables" / "variables")
    if os.path.isfile(path / "checkpoint") or any(path.glob("*.index")):
        path = tf_checkpoint.latest(path)
    if os.path.isfile(f"{path}.index"):
        return _read_tensorflow(path, "TensorFlow checkpoint", path)
    if os.path.isdir(path) and tfjs.is_graph_model(path):
        return _recognised(path, "TensorFlow.js graph model", tfjs.read_graph_model(path))
    if not os.path.isfile(path):
        found = "a folder" if os.path.isdir(path) else "nothing"
        raise FileError(f"{shown(path)}: expected a weight file, found {found}{catalogue.hint(path)}")
    with opened(path, "a weight file") as file:
        start = file.read(512 + len(HDF5_MAGIC))
        is_hdf5 = HDF5_MAGIC in (start[: len(HDF5_MAGIC)], start[512:])  # behind a block: as of `training.checkpoint`
        is_zip = zipfile.is_zipfile(file)
    suffix = path.suffix.lower()  # of a damaged file, which has no other mark
    if is_hdf5:
        return _read_hdf5(path)
    if is_zip and _is_keras_archive(path):
        return _read_keras_archive(path)
    if torch_file.is_safetensors(path) or suffix == ".safetensors":
        return _recognised(path, "safetensors", torch_file.read_safetensors(path))
    if is_zip and flax.is_checkpoint(path):
        return _recognised(path, "NumPy archive", flax.read_checkpoint(path))
    if is_zip or torch_file.is_torch(path) or suffix in TORCH_SUFFIXES:
        return _recognised(path, "PyTorch", torch_file.read_torch(path))
    if tfjs.is_graph_model(path):
        return _recognised(path, "TensorFlow.js graph model", tfjs.read_graph_model(path))
    raise FileError(
        f"{shown(path)}: expected a weight file: HDF5, .keras, PyTorch (.pth), .safetensors, or MAXIM's .npz or "
        "TensorFlow.js model; it is none of these"
    )


def load(path: str | os.PathLike[str], **overrides: Any) -> keras.Model:
    """Return the network stored in the weight file `path`; see `read` and `WeightFile.build`.

    Examples:
        >>> from deblurgan.weights.any_file import load
        >>> load("generator.h5").output_shape
        (None, None, None, 3)
    """
    return read(path).build(**overrides)


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str], **overrides: Any) -> WeightFile:
    """Write the network stored in `source` as `target`, whole or not at all, and return what `source` was.

    The name of `target` decides: `.keras` holds network and weights. For the tutorial's networks also: `.weights.h5`,
    the weights as Keras 3 writes them; another `.h5`, as Keras 2 wrote them, for old code; `.ckpt`, a TensorFlow
    checkpoint; no extension, a SavedModel folder, which must not exist yet. A `source` that says which network it
    belongs to can always become a `.weights.h5` that says so, with the `overrides`.

    Raises:
        InputError: another extension, or one that does not serve for this network.
        FileError, WeightsError: as `read` and `WeightFile.build`; or `target` cannot be written.
    """
    target = Path(target)
    writers: dict[str, Callable[[keras.Model, Path], None]] = {
        ".keras": _write_keras,
        ".weights.h5": hdf5.save_weights,
        ".h5": hdf5.save_keras2,
        ".ckpt": _write_checkpoint,
    }
    suffix = next((suffix for suffix in writers if target.name.endswith(suffix)), target.suffix)
    if (suffix and suffix not in writers) or target.name == suffix:
        known = ", ".join(writers)
        raise InputError(f"{shown(target)}: expected a name ending in {known}, or without an extension")
    content = read(source)
    served = [".keras"]
    if (named := content.named) is not None:
        options = {**named.options, **overrides}
        served.append(".weights.h5")
        writers[".weights.h5"] = lambda model, path: labelled.save_network(
            model, path, named.name, options, role=named.role
        )
    # Of the tutorial's networks, those with BatchNormalization are known by their tensors.
    known_by_tensors = "tutorial" in content.network and content.options.get("norm", "batch") == "batch"
    if suffix not in served and not known_by_tensors:
        raise InputError(f"{shown(target)}: expected a name ending in {' or '.join(served)} for a {content.network}")
    model = content.build(**overrides)
    writers.get(suffix, _write_saved_model)(model, target)
    return content


def _write_keras(model: keras.Model, target: Path) -> None:
    with atomic_path(target) as temporary:
        model.save(temporary)


def _write_checkpoint(model: keras.Model, target: Path) -> None:
    import tensorflow as tf

    if any(os.path.isdir(f"{target}{part}") for part in ("", ".index", ".data-00000-of-00001")):
        raise FileError(f"{shown(target)}: expected the name of a checkpoint, found a folder")
    with folder_beside(target) as temporary:
        tf.train.Checkpoint(variables=[tf.Variable(weight) for weight in model.weights]).write(str(temporary / "w"))
        for part in (".data-00000-of-00001", ".index"):  # the index last: with it the checkpoint is there
            os.replace(temporary / f"w{part}", f"{target}{part}")


def _write_saved_model(model: keras.Model, target: Path) -> None:
    if os.path.lexists(target):
        raise FileError(f"{shown(target)}: expected the name of a new folder, found something there")
    with folder_beside(target) as temporary:
        model.export(temporary / "model", verbose=False)
        os.replace(temporary / "model", target)


def _read_tensorflow(path: Path, kind: str, prefix: Path) -> WeightFile:
    """Read the variables of a checkpoint, or of the one inside a SavedModel; its graph is not loaded."""
    names, variables = checkpoint.read(prefix, kind, path)
    if layers := configurable.from_checkpoint(variables):
        return _configurable(path, kind, layers)
    if of_pix2pix := tf_checkpoint.wanted(variables):
        kind = f"{kind} of pix2pix's tutorial ({tf_checkpoint.parts(names)})"
        return _named(path, kind, tf_checkpoint.of(path, of_pix2pix))
    found = {
        int(match[1]): variable
        for key, variable in variables.items()
        if (match := re.fullmatch(r"variables/(\d+)/.*", key))
    }
    tensors = [found[number] for number in sorted(found) if found[number].dtype == np.float32]  # not dropout's seeds
    return _tutorial_file(path, kind, tutorial.from_tensors(str(path), tensors))


def _read_hdf5(path: Path) -> WeightFile:
    content = hdf5.read(path)
    named = labelled.of(path, content)
    if named is not None and (named.role, named.name) != ("generator", "tutorial"):
        return _named(path, "Keras 3 weights", named)
    if configurable.split(content.layers):
        return _configurable(path, content.kind, content.layers)
    file = _tutorial_file(path, content.kind, tutorial.from_layers(str(path), content.layers))
    return replace(file, named=named or file.named)


def _named(path: Path, kind: str, named: labelled.LabelledWeights) -> WeightFile:
    entry, switches = named.network, named.switches
    options = {option: value for option, value in named.options.items() if option not in switches}
    return WeightFile(
        path, kind, entry, entry.kind, options, named.tensors, named.build, assumed=switches, named=named
    )


def _configurable(path: Path, kind: str, layers: list[hdf5.LayerWeights]) -> WeightFile:
    parts = configurable.split(layers)

    def build(**overrides: Any) -> keras.Model:
        raise WeightsError(
            f"{shown(path)}: the file does not tell strides and upsampling; build deblurgan.gan.GAN(...) with the "
            "arguments that it was trained with, and its load_weights takes the file"
        )

    return WeightFile(
        path,
        kind,
        zoo.find("sampler" if "generator" in parts else "critic", "dcgan"),
        configurable.KINDS[tuple(parts)],
        configurable.told(parts),
        [(f"{entry.name}/{number}", tensor) for entry in layers for number, tensor in enumerate(entry.tensors)],
        build,
    )


def _tutorial_file(
    path: Path, kind: str, content: tutorial.GeneratorWeights | tutorial.DiscriminatorWeights
) -> WeightFile:
    role = "generator" if isinstance(content, tutorial.GeneratorWeights) else "critic"
    network = zoo.find(role, "tutorial")
    entries = [*content.convs, *content.norms]
    tensors = [(f"{entry.name}/{number}", tensor) for entry in entries for number, tensor in enumerate(entry.tensors)]
    options = content.hyper_parameters
    named = zoo.Identity(role, network.name, options)
    return WeightFile(path, kind, network, network.kind, options, tensors, content.build, named=named)


def _is_keras_archive(path: Path) -> bool:
    with opened(path, "a weight file") as file, zipfile.ZipFile(file) as archive:
        return "config.json" in archive.namelist() or "model.weights.h5" in archive.namelist()


def _read_keras_archive(path: Path) -> WeightFile:
    """Read a tutorial network by its tensors, and one of `deblurgan.networks` as Keras loads it."""
    try:
        config = from_json(hdf5.archived(path, "config.json"))
        name = config["config"]["name"]
    except (OSError, *DAMAGE):
        name = None  # the weights may still tell what they are
    entry = zoo.in_archive(name)
    if entry is None:
        return _read_hdf5(path)
    kind = entry.family or entry.kind
    parts = {part: hdf5.archived(path, part) for part in ("config.json", "metadata.json", "model.weights.h5")}
    with prefixed(shown(path), FileError):
        check_classes(config)
    try:
        size = most_unpacked(sum(map(len, parts.values())))
        with tempfile.TemporaryDirectory() as folder, bounded_weights(len(parts["config.json"]), size):
            checked = Path(folder, "model.keras")  # with nothing else in it
            with zipfile.ZipFile(checked, "w") as archive:
                for part, stored in parts.items():
                    archive.writestr(part, stored)
            model = keras.saving.load_model(checked, compile=False, safe_mode=True)
    except (OSError, *DAMAGE) as error:
        raise FileError(f"{shown(path)}: expected a .keras archive of a {kind}: {reason(error)}") from error
    tensors = [(variable.path, np.asarray(variable)) for variable in model.weights]
    options = {} if entry.role == "sampler" else {"image_shape": model.input_shape[1:]}
    if entry.role == "generator":
        options["output_channels"] = model.output_shape[-1]

    def build(dtype: Any = None) -> keras.Model:
        return model  # in the precision that it was saved with

    return WeightFile(path, "Keras 3 archive", entry, kind, options, tensors, build)


def _read_stages(path: Path, stages: int | None) -> WeightFile:
    """Read MAXIM from a folder with a file for each stage, or the first of them."""
    most = itertools.count() if stages is None or stages < 1 else range(stages)  # `build` refuses those below 1
    tensors: dict[str, np.ndarray] = {}
    for stage in itertools.takewhile(lambda stage: os.path.isfile(path / STAGE.format(stage)), most):
        tensors |= torch_file.read_safetensors(path / STAGE.format(stage))
    return _recognised(path, "safetensors for each stage", tensors)


def _recognised(path: Path, kind: str, tensors: Mapping[str, np.ndarray]) -> WeightFile:
    """A network by the names of others."""
    with prefixed(shown(path), WeightsError):
        entry, found = zoo.recognise(tensors)

    def build(**overrides: Any) -> keras.Model:
        with prefixed(shown(path), WeightsError):
            return found.build(**overrides)

    return WeightFile(
        path,
        kind,
        entry,
        found.kind,
        found.options,
        list(tensors.items()),
        build,
        assumed=found.assumed,
        freezes=found.freezes,
        named=zoo.Identity(entry.role, entry.name, {**found.options, **found.assumed}) if found.certain else None,
    )
