"""Small files of MAXIM in its public forms, made by hand.

What arrays the network has comes from following its modules with the numbers of channels alone, as Flax does: a
module without a name is counted. Nothing here is of the code under test.
"""

import base64
import io
import json
import math
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np

from tests.safetensors_files import safetensors

TINY = {
    "channels": 3,
    "features": 4,
    "depth": 2,
    "stages": 2,
    "groups": 1,
    "scales": 2,
    "bottleneck_blocks": 1,
    "high_resolutions": 1,
    "block_size": (4, 4),
    "grid_size": (2, 2),
    "low_block_size": (2, 2),
    "low_grid_size": (4, 4),
    "input_factor": 2,
    "block_factor": 3,
    "grid_factor": 4,
    "reduction": 2,
}
OPTIONS = {name: value for name, value in TINY.items() if name != "channels"}  # as the builder takes them


class Scope:
    """A module: what it makes is noted in `found` as (height, width, in, out) or (in, out)."""

    def __init__(self, found, path=""):
        self.found, self.path, self.counts = found, path, Counter()

    def sub(self, kind, name=None):
        if name is None:
            name = f"{kind}_{self.counts[kind]}"
            self.counts[kind] += 1
        return Scope(self.found, f"{self.path}{name}/")

    def conv(self, width, out, side=1, name=None, kind="Conv"):
        scope = self.sub(kind, name)
        self.found[f"{scope.path}kernel"] = (side, side, width, out)
        self.found[f"{scope.path}bias"] = (out,)
        return out

    def up(self, width, out):
        return self.conv(width, out, 2, kind="ConvTranspose")

    def dense(self, width, out, name=None):
        scope = self.sub("Dense", name)
        self.found[f"{scope.path}kernel"] = (width, out)
        self.found[f"{scope.path}bias"] = (out,)
        return out

    def norm(self, width, name):
        self.found[f"{self.path}{name}/scale"] = self.found[f"{self.path}{name}/bias"] = (width,)
        return width


def channel_attention(scope, x, o):
    scope = scope.sub("", "channel_attention")
    return scope.conv(scope.conv(x, x // o["reduction"]), x)


def gated_mlp(scope, x, kind, places, factor):
    scope = scope.sub("", f"{kind}GmlpLayer")
    y = scope.dense(scope.norm(x, "LayerNorm"), x * factor, "in_project")
    gate = scope.sub("", f"{kind}GatingUnit")
    gate.norm(y - y // 2, "intermediate_layernorm")
    gate.dense(places, places)
    return scope.dense(y // 2, x, "out_project")


def multi_axis(scope, x, size, o):
    y = scope.dense(scope.norm(x, "LayerNorm_in"), x * o["input_factor"], "in_project")
    u = gated_mlp(scope, y // 2, "Grid", math.prod(size[1]), o["grid_factor"])
    v = gated_mlp(scope, y - y // 2, "Block", math.prod(size[0]), o["block_factor"])
    return scope.dense(u + v, x, "out_project")


def gates(scope, x, size, o):
    y = scope.dense(scope.norm(x, "LayerNorm_in"), x * o["input_factor"], "in_project")
    scope.dense(math.prod(size[1]), math.prod(size[1]))
    scope.dense(math.prod(size[0]), math.prod(size[0]))
    return scope.dense(y, x, "out_project")


def cross_gating(scope, x, y, features, size, o, up=False):
    if up:
        y = scope.up(y, features)
    x = scope.conv(x, features)
    y = scope.conv(y, x)
    for side in "xy":
        scope.norm(x, f"LayerNorm_{side}")
        scope.dense(x, x, f"in_project_{side}")
        gates(scope.sub("", f"SplitHeadMultiAxisGating_{side}"), x, size, o)
        scope.dense(x, x, f"out_project_{side}")
    return x, y


def encoder_block(scope, x, features, size, o, *, skip=0, gated=False, down=True):
    x = scope.conv(x + skip, features)
    for i in range(o["groups"]):
        x = multi_axis(scope.sub("", f"SplitHeadMultiAxisGmlpLayer_{i}"), x, size, o)
        block = scope.sub("", f"channel_attention_block_1{i}")
        x = block.conv(block.norm(x, "LayerNorm"), features, 3, "conv1")
        x = channel_attention(block, block.conv(x, features, 3, "conv2"), o)
    if gated:
        x, _ = cross_gating(scope.sub("", "cross_gating_block"), x, x, features, size, o)
    return scope.conv(x, features, 4) if down else x


def bottleneck(scope, x, features, size, o):
    x = scope.conv(x, features, name="input_proj")
    for i in range(o["groups"]):
        x = multi_axis(scope.sub("", f"SplitHeadMultiAxisGmlpLayer_{i}"), x, size, o)
        block = scope.sub("", f"channel_attention_block_1_{i}")
        mixing = block.sub("", "channel_mixing")
        x = channel_attention(block, mixing.dense(mixing.dense(block.norm(x, "LayerNorm"), features), x), o)
    return x


def shapes_of(o):
    """Name and shape of all that a network of these options has, in Flax's layout."""
    found = {}
    root = Scope(found)
    low = o["low_block_size"], o["low_grid_size"]
    sizes = [(o["block_size"], o["grid_size"]) if i < o["high_resolutions"] else low for i in range(o["depth"])]
    widths = [o["features"] * 2**i for i in range(o["depth"])]
    for s in range(o["stages"]):
        scaled = [root.conv(o["channels"], widths[i], 3, f"stage_{s}_input_conv_{i}") for i in range(o["scales"])]
        for i, width in enumerate(scaled if s else []):
            cross_gating(root.sub("", f"stage_{s}_input_fuse_sam_{i}"), width, width, width, sizes[i], o)
        x = scaled[0]
        for i, width in enumerate(widths):
            block = root.sub("", f"stage_{s}_encoder_block_{i}")
            skip = width if i < o["scales"] else 0
            x = encoder_block(block, x, width, sizes[i], o, skip=skip, gated=s > 0)
        for i in range(o["bottleneck_blocks"]):
            x = bottleneck(root.sub("", f"stage_{s}_global_block_{i}"), x, widths[-1], low, o)
        y = x
        for i in reversed(range(o["depth"])):
            signal = sum(root.sub("UpSampleRatio").conv(width, widths[i]) for width in widths)
            gating = root.sub("", f"stage_{s}_cross_gating_block_{i}")
            _, y = cross_gating(gating, signal, y, widths[i], sizes[i], o, up=True)
        for i in reversed(range(o["depth"])):
            bridge = sum(root.sub("UpSampleRatio").conv(width, widths[i]) for width in widths[::-1])
            block = root.sub("", f"stage_{s}_decoder_block_{i}")
            x = block.up(x, widths[i])
            x = encoder_block(block.sub("UNetEncoderBlock"), x, widths[i], sizes[i], o, skip=bridge, down=False)
            if i < o["scales"] and s < o["stages"] - 1:
                attention = root.sub("", f"stage_{s}_supervised_attention_module_{i}")
                attention.conv(x, x, 3)
                attention.conv(attention.conv(x, o["channels"], 3), x, 3)
            elif i < o["scales"]:
                root.conv(x, o["channels"], 3, f"stage_{s}_output_conv_{i}")
    return found


def flax_arrays(options=TINY, seed=0):
    """Random float32 arrays of a network in Flax's layout."""
    random = np.random.default_rng(seed)
    arrays = {}
    for name, shape in shapes_of(options).items():
        start = 1.0 if name.endswith("scale") else 0.0
        deviation = math.prod(shape[:-1]) ** -0.5 if len(shape) > 1 else 0.1
        arrays[name] = random.normal(start, deviation, shape).astype(np.float32)
    return arrays


def keras_arrays(arrays):
    """The same in Keras' layout, a number at a time for what is laid out otherwise."""
    result = {}
    for name, array in arrays.items():
        if "/ConvTranspose_0/kernel" in name:
            height, width, inputs, outputs = array.shape
            turned = np.empty((height, width, outputs, inputs), array.dtype)
            for y, x, i, o in np.ndindex(array.shape):
                turned[height - 1 - y, width - 1 - x, o, i] = array[y, x, i, o]
            array = turned
        result[name] = array
    return result


# A file for each stage


def write_stages(folder, arrays, options=TINY):
    """Write arrays in Keras' layout as safetensors, a file for each stage, into `folder`; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    stages = [{} for _ in range(options["stages"])]
    for name, array in arrays.items():
        kind, number = name.split("/")[0].split("_")[:2]
        stages[int(number) // (2 * options["depth"] ** 2) if kind == "UpSampleRatio" else int(number)][name] = (
            np.float32(array)
        )
    for number, tensors in enumerate(stages):
        (folder / f"stage_{number}.safetensors").write_bytes(
            safetensors({name: np.float32(tensor) for name, tensor in tensors.items()})
        )
    return folder


# TensorFlow.js


def text(string):
    return {"s": base64.b64encode(string.encode()).decode()}


class Graph:
    """A graph in the making: nodes, and constants in the order of the manifest."""

    def __init__(self):
        self.nodes, self.entries, self.data = [], [], []

    def node(self, name, op, *inputs, **attributes):
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": attributes})
        return name

    def constant(self, name, array, quantized=None):
        array = np.asarray(array)
        entry = {"name": name, "shape": list(array.shape), "dtype": "int32" if array.dtype == int else "float32"}
        stored = array.astype("<i4" if array.dtype == int else "<f4")
        if quantized == "float16":
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
            stored = array.astype("<f2")
        elif quantized:
            most = np.iinfo(quantized).max
            least, scale = float(array.min()), float(np.ptp(array)) / most or 1.0
            stored = np.round((array.astype(float) - least) / scale).astype(f"<{np.dtype(quantized).str[1:]}")
            entry["quantization"] = {"dtype": quantized, "min": least, "scale": scale}
        self.entries.append(entry)
        self.data.append(stored.tobytes())
        return self.node(name, "Const")

    def files(self, shard_size=5000):
        """The content of each file by name."""
        data = b"".join(self.data)
        parts = [data[i : i + shard_size] for i in range(0, len(data), shard_size)]
        shards = {f"group1-shard{i + 1}of{len(parts)}.bin": part for i, part in enumerate(parts)}
        model = {
            "format": "graph-model",
            "modelTopology": {"node": self.nodes, "library": {}},
            "weightsManifest": [{"paths": list(shards), "weights": self.entries}],
        }
        return {"model.json": json.dumps(model).encode(), **shards}


def graph_of(arrays, *, through="", quantized=None, root="StatefulPartitionedCall/jax2tf_apply_/Wrapper/backbone/"):
    """A graph whose layers use these arrays, given in Keras' layout, as the converter of JAX makes it.

    `through`: a node that each constant passes before it is used.
    """
    graph = Graph()
    graph.node("xs_0", "Placeholder")
    for number, (name, array) in enumerate(arrays.items()):
        layer, parameter = name.rsplit("/", 1)
        at = f"{root}{layer}/"
        array = array.reshape(1, 1, 1, -1) if array.ndim == 1 else array
        constant = f"StatefulPartitionedCall/jax2tf_arg_{number}/ReadVariableOp"
        if through == "Reshape":
            flat = graph.constant(constant, array.reshape(-1, 1), quantized)
            shape = graph.constant(f"{at}Reshape_{number}/shape", np.array([*array.shape[:-1], -1]))
            constant = graph.node(f"{at}Reshape_{number}", "Reshape", flat, shape)
        elif through == "Transpose":
            order = np.array([*range(1, array.ndim), 0])
            stored = graph.constant(constant, array.transpose(np.argsort(order)), quantized)
            constant = graph.node(
                f"{at}transpose_{number}", "Transpose", stored, graph.constant(f"{at}transpose_{number}/perm", order)
            )
        else:
            graph.constant(constant, array, quantized)
            if through:
                constant = graph.node(f"{at}{through}_{number}", through, f"{constant}:0")
        if parameter == "scale":
            graph.constant(f"StatefulPartitionedCall/Const_{number}", np.float32(1e-6))
            graph.node(f"{at}jit_fn_/AddV2", "AddV2", "xs_0", f"StatefulPartitionedCall/Const_{number}")
            graph.node(f"{at}jit_fn_/Mul_4", "Mul", "xs_0", constant)
        elif parameter == "bias":
            graph.node(f"{at}jit_fn_/AddV2_1", "AddV2", "xs_0", constant)
        elif array.ndim == 2:
            graph.node(f"{at}einsum/Einsum", "Einsum", "xs_0", constant, equation=text("abcg,gf->abcf"))
        elif "ConvTranspose" in layer:
            size = graph.constant(f"{at}conv2d_transpose/input_sizes", np.array([1, 2, 2, 4]))
            graph.node(f"{at}conv2d_transpose", "Conv2DBackpropInput", size, constant, "xs_0")
        else:
            graph.node(f"{at}Conv2D", "Conv2D", "xs_0", constant)
    resize = graph.constant(f"{root}UpSampleRatio_0/jit__resize_/weights", np.ones((4, 8), np.float32))
    graph.node(f"{root}UpSampleRatio_0/jit__resize_/Einsum", "Einsum", "xs_0", resize, equation=text("ab,bc->ac"))
    return graph


def write_folder(folder, files):
    """Write files into a folder; return it."""
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def tgz(files, prefix="package/models/"):
    """The content of a package of npm's with these files; those without content are links to the first."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, next(iter(files))
            else:
                member.size = len(content)
            archive.addfile(member, None if content is None else io.BytesIO(content))
    return stream.getvalue()
