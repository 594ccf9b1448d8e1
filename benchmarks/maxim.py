"""Restoring with the package's weights: this package, the original graph, ONNX Runtime and OpenVINO side by side.

All have the same weights and take turns on the same picture, so that a machine whose speed drifts favours none. This
package takes and gives uint8; the others are given float32 that is scaled already. ONNX Runtime and OpenVINO run what
`deblurgan export` makes; the original graph, that of the authors' network as TensorFlow.js has it, is run by
TensorFlow, all three stages of it: `--original` names the folder of its `model.json`. The network's operations are
counted from its weights as its definition has them (a multiplication and an addition are two), and the machine's peak
is the fastest product of two square matrices in TensorFlow. PSNR is that of each output, in 8 bits, against Keras in
float32. bfloat16 is left out on a CPU that would emulate it. Needs the extra [export].

    python benchmarks/maxim.py
    python benchmarks/maxim.py --stages 3 --sizes 256x256 --original package/models
"""

import argparse
import functools
import json
import math
import os
import statistics
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from side_by_side import report, time_in_turn

from deblurgan.devices import cpu_has_bfloat16
from deblurgan.networks.maxim import maxim
from deblurgan.networks.maxim_layers import CrossGating, MultiAxisGmlp
from deblurgan.networks.maxim_parts import Composite
from deblurgan.networks.maxim_scales import Fusion
from deblurgan.pictures.pixels import resize, to_8_bits
from deblurgan.pictures.reading import read_picture
from deblurgan.restoring.opening import open_restorer
from deblurgan.runtimes import contract, converting, engines
from deblurgan.scoring.metrics import psnr
from deblurgan.weights import any_file, catalogue

MATRIX = 4096
TYPES = {"float32": np.float32, "int32": np.int32, "bool": np.bool_}


def original(folder: str):
    """Return the authors' graph as a function, from float32 in [0, 1] to the restored picture."""
    from google.protobuf import json_format

    model = json.loads(Path(folder, "model.json").read_text())
    constants = {}
    for group in model["weightsManifest"]:
        data = b"".join(Path(folder, shard).read_bytes() for shard in group["paths"])
        begin = 0
        for entry in group["weights"]:
            kind = np.dtype(TYPES[entry["dtype"]])
            end = begin + math.prod(entry["shape"]) * kind.itemsize
            constants[entry["name"]] = np.frombuffer(data[begin:end], kind).reshape(entry["shape"])
            begin = end
    graph_def = tf.compat.v1.GraphDef()
    topology = {key: value for key, value in model["modelTopology"].items() if key in ("node", "library")}
    json_format.ParseDict(topology, graph_def, ignore_unknown_fields=True)
    for node in graph_def.node:
        if node.op == "Const":
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(constants[node.name]))
    given = next(node.name for node in graph_def.node if node.op == "Placeholder")
    signature = model.get("signature") or model["userDefinedMetadata"]["signature"]
    outputs = [entry["name"] for entry in signature["outputs"].values()]

    def imported(x):
        return tf.graph_util.import_graph_def(graph_def, input_map={f"{given}:0": x}, return_elements=outputs)

    return tf.compat.v1.wrap_function(imported, [tf.TensorSpec((1, None, None, 3), tf.float32)])


def run_original(function, x):
    """Return the pictures of all scales."""
    return [y.numpy() for y in function(x)]


def operations(model: keras.Model) -> float:
    """Return the multiplications and additions of the network's definition for an image of its input's size."""
    total = 0.0

    def pixels(tensor):
        return math.prod(tensor.shape[1:3])

    for layer in model.layers:
        if type(layer) is keras.layers.Conv2D:
            total += math.prod(layer.kernel.shape) * pixels(layer.output)
        if not isinstance(layer, Composite):
            continue
        output = layer.output[0] if isinstance(layer.output, list) else layer.output
        for variable in layer.weights:
            shape, name = variable.shape, variable.name
            if not name.endswith("kernel") or "channel_attention" in name:
                continue
            mixes = isinstance(layer, (MultiAxisGmlp, CrossGating)) and ".Dense_" in name
            if mixes:  # tokens, for each channel
                both = output.shape[-1] * layer.input_factor // 2
                total += shape[0] * both * pixels(output)
            elif isinstance(layer, Fusion) and name.startswith("ConvTranspose"):
                total += math.prod(shape) * pixels(output) / 4
            else:
                total += math.prod(shape) * pixels(output)
    return 2 * total


def matmul(dtype: str):
    """Return a call that multiplies two square matrices."""
    square = tf.cast(tf.random.normal((MATRIX, MATRIX)), dtype)
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(square, square)[:1]), autograph=False)
    return lambda: product().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=1)
    parser.add_argument("--picture", metavar="FILE", help="noise when left out")
    parser.add_argument(
        "--sizes", nargs="+", metavar="HEIGHTxWIDTH", default=["256x256", "384x448"], help="multiples of 64"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--original", metavar="FOLDER")
    arguments = parser.parse_args()
    stages = arguments.stages
    content = any_file.read(catalogue.DEFAULT, stages=stages)
    network = content.build(stages=stages, dtype="float32")
    about = contract.about(network, content.network)
    precisions = ["float32", *(["bfloat16"] if cpu_has_bfloat16() else [])]
    if len(precisions) == 1:
        print("this CPU would emulate bfloat16, which is left out")
    ours = {name: open_restorer(catalogue.DEFAULT, stages=stages, precision=name) for name in precisions}
    others = {
        f"{engine} {name}": engines.from_model(network, about, engine, name).run
        for engine, name in (("onnxruntime", "float32"), *(("openvino", name) for name in precisions))
    }
    exact_call, authors = converting.served(network), arguments.original and original(arguments.original)
    for size in arguments.sizes:
        height, width = map(int, size.split("x"))
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        if arguments.picture:
            image = resize(to_8_bits(read_picture(arguments.picture).rgb), (height, width))
        x = (image[np.newaxis] / 255).astype(np.float32)
        things = {
            **{f"ours {name}": functools.partial(restore, image) for name, restore in ours.items()},
            **{name: functools.partial(run, x) for name, run in others.items()},
            **{f"matmul {name}": matmul(name) for name in precisions},
        }
        if authors and stages == 3:
            things["original float32"] = functools.partial(run_original, authors, tf.constant(x))
        exact = np.rint(exact_call(x)[0].numpy() * 255).astype(np.uint8)
        seconds = time_in_turn(things, arguments.rounds)
        peaks = {
            name.split()[1]: 2 * MATRIX**3 / min(seconds.pop(name)) for name in list(seconds) if "matmul" in name
        }
        work = operations(maxim((height, width, 3), stages=stages))
        print(f"\n{width}x{height}: {work / 1e9:.1f} GFLOP")
        print("matmul peak: " + ", ".join(f"{name} {peak / 1e9:.0f} GFLOP/s" for name, peak in peaks.items()))
        report(seconds, baseline="onnxruntime float32")
        for name, own in seconds.items():
            output = things[name]()
            if isinstance(output, list):  # of the original, the pictures of all scales
                output = next(y for y in output if y.shape == x.shape)
            if output.dtype != np.uint8:
                output = np.rint(np.clip(output[0], 0, 1) * 255).astype(np.uint8)
            share = work / statistics.median(own) / peaks[name.split()[1]]
            print(f"{name:20} {share:5.0%} of the matmul peak; PSNR against Keras {psnr(exact, output):.1f} dB")


if __name__ == "__main__":
    main()
