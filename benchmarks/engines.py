"""Restoring one picture with the tutorial's generator: this package, PyTorch, ONNX Runtime and OpenVINO side by side.

All have the same weights and take turns on the same picture, so that a machine whose speed drifts favours none. This
package takes and gives uint8; the others are given float32 that is scaled already, PyTorch NCHW. The network's
operations are counted from its layers (a multiplication and an addition are two), and the machine's peak is the
fastest product of two square matrices in TensorFlow. PSNR is that of each output, in 8 bits, against the same network
in float32 Keras. bfloat16 is left out on a CPU that would emulate it. Needs torch and the extra [export].

    python benchmarks/engines.py
    python benchmarks/engines.py --weight_path weights/RUN/generator_best.weights.h5 --picture images/test/A/x.png
"""

import argparse
import functools
import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import torch
import torch._dynamo  # before TensorFlow, after which importing it ends the process (2.14 with 2.21)

import deblurgan  # noqa: F401 (it chooses TensorFlow's operations, before that is imported)

# isort: split

import keras
import numpy as np
import tensorflow as tf
from generators import tutorial_weights
from side_by_side import report, time_in_turn
from torch import nn
from torch.nn import functional

from deblurgan.devices import cpu_has_bfloat16, describe, policy, resolve_precision
from deblurgan.networks.folding import folded
from deblurgan.networks.tutorial import generator_model
from deblurgan.pictures.pixels import resize, to_8_bits
from deblurgan.pictures.reading import read_picture
from deblurgan.restoring.restorer import Restorer
from deblurgan.runtimes import contract, converting, engines
from deblurgan.scoring.metrics import psnr
from deblurgan.weights.tutorial import GeneratorWeights

MATRIX = 4096


class TorchGenerator(nn.Module):
    """The tutorial's generator in plain PyTorch, normalisations included."""

    def __init__(self, weights: GeneratorWeights) -> None:
        super().__init__()
        self.transposed = weights.hyper_parameters["upsampling"] == "transpose"
        kernels = [conv.kernel_shape for conv in weights.convs]
        ups = range(len(kernels) - 3, len(kernels) - 1)
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for i, conv in enumerate(weights.convs):
            kernel, bias = (torch.from_numpy(np.array(tensor)) for tensor in conv.tensors)
            turned = self.transposed and i in ups
            # (rows, columns, in, out) to (out, in, ...); transposed: (rows, columns, out, in) to (in, out, ...)
            kernel = kernel.permute(3, 2, 0, 1).contiguous()
            stride = 2 if i in (1, 2) or turned else 1
            kind = nn.ConvTranspose2d if turned else nn.Conv2d
            layer = kind(kernel.shape[1 - turned], kernel.shape[turned], kernel.shape[2], stride)
            layer.weight, layer.bias = nn.Parameter(kernel), nn.Parameter(bias)
            self.convs.append(layer)
        for norm in weights.norms:
            gamma, beta, mean, variance = (torch.from_numpy(np.array(tensor)) for tensor in norm.tensors)
            layer = nn.BatchNorm2d(len(gamma), eps=1e-3)
            layer.load_state_dict(
                {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}, strict=False
            )
            self.norms.append(layer)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = image * 2 - 1
        last = len(self.convs) - 1
        x = functional.pad(image, (3, 3, 3, 3), "reflect")
        x = functional.relu(self.norms[0](self.convs[0](x)))
        for i in (1, 2):
            x = functional.relu(self.norms[i](self.convs[i](functional.pad(x, (0, 1, 0, 1)))))
        for i in range(3, last - 2, 2):
            y = self.norms[i](self.convs[i](functional.pad(x, (1, 1, 1, 1), "reflect")))
            y = functional.pad(functional.relu(y), (1, 1, 1, 1), "reflect")
            x = x + self.norms[i + 1](self.convs[i + 1](y))
        for i in (last - 2, last - 1):
            if self.transposed:
                x = self.convs[i](x)[:, :, :-1, :-1]
            else:
                x = self.convs[i](functional.pad(functional.interpolate(x, scale_factor=2), (1, 1, 1, 1)))
            x = functional.relu(self.norms[i](x))
        x = torch.tanh(self.convs[last](functional.pad(x, (3, 3, 3, 3), "reflect")).float())
        return ((x + image) / 2 * 0.5 + 0.5).clamp(0, 1)


def operations(weights: GeneratorWeights, height: int, width: int) -> float:
    """Return the multiplications and additions of the convolutions for one image."""
    total = 0
    for layer in generator_model((height, width, 3), **weights.hyper_parameters).layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            total += 2 * np.prod(layer.kernel.shape) * np.prod(layer.input.shape[1:3])
        elif isinstance(layer, keras.layers.Conv2D):
            total += 2 * np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3])
    return float(total)


def matmul(dtype: str):
    """Return a call that multiplies two square matrices."""
    square = tf.random.normal((MATRIX, MATRIX))
    square = tf.cast(square, dtype)
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(square, square)[:1]), autograph=False)
    return lambda: product().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weight_path", help="random weights when left out")
    parser.add_argument("--picture", metavar="FILE", help="noise when left out")
    parser.add_argument("--sizes", nargs="+", metavar="HEIGHTxWIDTH", default=["256x256", "720x1280"])
    parser.add_argument("--rounds", type=int, nargs="+", default=[9, 3], help="for each of --sizes")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    weights = tutorial_weights(arguments.weight_path)
    default = resolve_precision("auto")
    precisions = ["float32", *(["bfloat16"] if cpu_has_bfloat16() else [])]
    if len(precisions) == 1:
        print("this CPU would emulate bfloat16, which is left out")
    print(f"ours at default precision: {describe('auto')}; {engines.threads()} threads for all")
    torch.set_num_threads(engines.threads())

    ours = {name: Restorer(folded(weights.build(dtype=policy(name))), fixed=True) for name in precisions}
    network = folded(weights.build(dtype="float32"))
    about = contract.about(network, "tutorial generator")
    others = {
        f"{engine} {precision}": engines.from_model(network, about, engine, precision).run
        for engine, precision in (("onnxruntime", "float32"), *(("openvino", name) for name in precisions))
    }
    in_keras, in_torch = converting.served(weights.build(dtype="float32")), TorchGenerator(weights).eval()

    def torch_call(x, precision):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return in_torch(x)

    for size, rounds in zip(arguments.sizes, arguments.rounds, strict=True):
        height, width = map(int, size.split("x"))
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        if arguments.picture:
            image = resize(to_8_bits(read_picture(arguments.picture).rgb), (height, width))
        x = (image[np.newaxis] / 255).astype(np.float32)
        nchw = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
        things = {
            **{f"ours {name}": functools.partial(restore, image) for name, restore in ours.items()},
            **{f"torch {precision}": functools.partial(torch_call, nchw, precision) for precision in precisions},
            **{name: functools.partial(run, x) for name, run in others.items()},
            **{f"matmul {precision}": matmul(precision) for precision in precisions},
        }
        exact = np.rint(in_keras(x)[0].numpy() * 255).astype(np.uint8)
        seconds = time_in_turn(things, rounds)
        peaks = {
            name.split()[1]: 2 * MATRIX**3 / min(seconds.pop(name)) for name in list(seconds) if "matmul" in name
        }
        work = operations(weights, height, width)
        print(f"\n{width}x{height}: {work / 1e9:.1f} GFLOP")
        print("matmul peak: " + ", ".join(f"{name} {peak / 1e9:.0f} GFLOP/s" for name, peak in peaks.items()))
        report(seconds, baseline="torch float32")
        for name, own in seconds.items():
            output = things[name]()
            if isinstance(output, torch.Tensor):
                output = output.permute(0, 2, 3, 1).numpy()
            if output.dtype != np.uint8:
                output = np.rint(output[0] * 255).astype(np.uint8)
            share = work / statistics.median(own) / peaks[name.split()[1]]
            print(
                f"{name:20} {share:5.0%} of the matmul peak; PSNR against Keras float32 {psnr(exact, output):.1f} dB"
            )

        def ratio(name, others, seconds=seconds):
            best = [min(times) for times in zip(*(seconds[other] for other in others), strict=True)]
            return statistics.median(b / a for a, b in zip(seconds[name], best, strict=True))

        for title, name, rivals in (
            ("default precision over torch float32", f"ours {default}", ["torch float32"]),
            ("float32 over the best of ONNX Runtime and OpenVINO", "ours float32", [n for n in others if "32" in n]),
            ("bfloat16 over OpenVINO's", "ours bfloat16", ["openvino bfloat16"]),
        ):
            if name not in seconds:
                continue
            print(f"ours, {title}: {ratio(name, rivals):.2f}x")


if __name__ == "__main__":
    main()
