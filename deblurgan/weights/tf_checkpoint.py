"""TensorFlow checkpoints of pix2pix's tutorial: `tf.train.Checkpoint` of generator, discriminator and optimizers.

The way to a tensor, see `checkpoint`, is `generator/layer_with_weights-1/layer_with_weights-0/kernel` in Keras 2, and
`generator/_operations/2/_functional/_operations/1/kernel` in Keras 3: of the second layer of the generator with
weights, a Sequential, the first layer. Optimizers are not read.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deblurgan.errors import FileError, WeightsError
from deblurgan.files import shown
from deblurgan.weights.checkpoint import VALUE, by_layer
from deblurgan.weights.hdf5 import NORM_TENSORS, LayerWeights
from deblurgan.weights.labelled import LabelledWeights

Tensors = Mapping[str, np.ndarray]

ROLES = {"generator": ("generator", "unet"), "discriminator": ("critic", "patchgan")}
_LAYERS = r"((layer_with_weights-|(_functional/)?_operations/)\d+/)+"


def latest(folder: Path) -> Path:
    """Return the checkpoint in `folder` that its file `checkpoint` calls the latest, or else the last by its number.

    Raises:
        FileError: there is none.
    """
    prefixes = [path.with_suffix("") for path in folder.glob("*.index")]
    if not prefixes:
        raise FileError(f"{shown(folder)}: expected a TensorFlow checkpoint, found a folder without any .index file")
    note = folder / "checkpoint"
    text = note.read_text("utf-8", "replace") if note.is_file() else ""
    noted = re.search(r'^model_checkpoint_path: "(.*)"', text, re.M)
    named = [prefix for prefix in prefixes if noted and prefix.name == Path(noted[1]).name]
    return named[0] if named else max(prefixes, key=lambda path: (len(path.name), path.name))


def parts(names: list[str]) -> str:
    """Return in words what a checkpoint with tensors of these names holds."""
    return ", ".join(sorted({name.partition("/")[0] for name in names if name.endswith(VALUE)} - {"save_counter"}))


def wanted(tensors: Tensors) -> Tensors:
    """Return the tensors that `of` takes: the generator's, or else the discriminator's."""
    for network in ROLES:
        own = {name: tensors[name] for name in tensors if re.match(rf"{network}/{_LAYERS}\w+{VALUE}", name)}
        if own:
            return own
    return {}


def of(path: Path, tensors: Tensors) -> LabelledWeights:
    """Return the network that the `wanted` tensors of a checkpoint make.

    Raises:
        WeightsError: they are of another network than the tutorial's.
    """
    ordered = list(by_layer(tensors).values())
    kernels = [layer["kernel"] for layer in ordered if "kernel" in layer]
    role, network = ROLES[next(iter(tensors)).partition("/")[0]]
    count = len(kernels)
    if any(kernel.ndim != 4 for kernel in kernels) or count < 3 or (role == "generator" and count % 2):
        raise WeightsError(f"{shown(path)}: expected the {role} of TensorFlow's tutorial of pix2pix, found another")
    if role == "generator":
        downs = count // 2
        names = [*(f"down{n}" for n in range(1, downs + 1)), *(f"up{n}" for n in range(downs, 1, -1)), "out"]
        options = {"ngf": kernels[0].shape[3], "num_downs": downs, "output_channels": kernels[-1].shape[2]}
        options["test_statistics"] = True  # as the tutorial makes its pictures
    else:
        names = ["in", *(f"layer{n}" for n in range(1, count - 1)), "out"]
        options = {"ndf": kernels[0].shape[3], "n_layers": count - 2, "norm": "batch"}
    found: dict[str, LayerWeights] = {}
    rest, name = iter(names), ""
    tensor_names: tuple[str, ...]
    for layer in ordered:
        if "kernel" in layer:
            name = next(rest)
            tensor_names, title = ("kernel", "bias"), f"{name}_conv"
        else:
            tensor_names, title = NORM_TENSORS, f"{name}_norm"
        found[title] = LayerWeights(title, tuple(layer[each] for each in tensor_names if each in layer))
    if role == "generator":
        options["bottleneck_norm"] = f"down{downs}_norm" in found
    options |= {"wiring": "tensorflow", "image_shape": (None, None, kernels[0].shape[2])}
    return LabelledWeights(path, role, network, options, found)
