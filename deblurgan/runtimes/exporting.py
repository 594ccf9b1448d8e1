"""Writing a generator for other runtimes, each file checked against Keras after it has been written."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deblurgan.errors import FileError, InputError
from deblurgan.files import check_replaceable, folder_beside, shown, without_wildcards
from deblurgan.networks.folding import folded
from deblurgan.runtimes import contract, converting, engines, int8
from deblurgan.runtimes.contract import About, Images, optional
from deblurgan.weights import catalogue
from deblurgan.weights.generators import open_generator
from deblurgan.weights.qualities import quality_in_words

TOLERANCE = 1e-3  # of [0, 1]: a quarter of the distance between two 8-bit values
MAX_COST = 0.2  # dB
CHECKED_SIDE = 64  # pixels; about the smallest side of the images that a file is checked with
CHECKED_WINDOW = 512  # pixels; windows up to this are checked with an image that is larger

Run = Callable[[Images], Images]


@dataclass(frozen=True)
class Exported:
    """A file that has been written.

    Attributes:
        kind: its format, in words.
        about: what it says of itself.
        quality: of a network with stages, what was written, in words; None for one without.
        sizes: height and width of the random images that it was checked with.
        difference: the largest one of its results from those of Keras, for these images; values are in [0, 1].
        cost: of computing in integers, in dB; see `int8.Calibration.cost`. None in float32.
        paired: whether that was measured against sharp pictures.
        example: what to import, and three lines of Python that restore a picture with it.
    """

    kind: str
    about: About
    quality: str | None
    sizes: list[tuple[int, int]]
    difference: float
    cost: float | None
    paired: bool
    example: str


def export(
    source: str | os.PathLike[str] | None,
    target: str | os.PathLike[str],
    *,
    quality: str | None = None,
    calibrate: str | os.PathLike[str] | None = None,
    max_cost: float = MAX_COST,
    **assumed: Any,
) -> Exported:
    """Write the generator in the weight file `source` as `target`, for images of any size.

    The name of `target` decides: `.onnx`; `.xml`, OpenVINO's, with a `.bin` beside it; `.tflite`; no extension, a
    SavedModel folder, which must not exist yet. The file is there only if it passes the check in its own runtime.
    What it takes, `About.contract`, stands in its metadata under the name deblurgan (of a SavedModel in
    `assets.extra/deblurgan.json`).

    Args:
        source: see `any_file.read`; None for the weights in the package, `catalogue.DEFAULT`.
        target: the file or folder to write.
        quality: of a network with stages, how many of them: "fast", "balanced" or "best"; None as in
            `opening.open_restorer`.
        calibrate: a folder of pictures, or of pairs in A and B, for a file that computes in 8-bit integers; None for
            float32. A SavedModel cannot.
        max_cost: the most that integers may cost, in dB.
        assumed: what `source` leaves open, e.g. `residual=False`.

    Raises:
        InputError: another extension, a quality that there is not, a network that cannot be exported, a package that
            is missing, or integers that cost too much.
        FileError, WeightsError: as `generators.open_generator`; or `target` cannot be written, or differs from Keras.
    """
    target = Path(target)
    suffix = target.suffix.lower()
    known = ", ".join(filter(None, FORMATS))
    if suffix not in FORMATS or not target.stem or target.name.startswith("."):
        raise InputError(f"{shown(target)}: expected a name ending in {known}, or without an extension")
    form = FORMATS[suffix]
    if calibrate is not None and not suffix:
        raise InputError(
            f"{shown(target)}: a SavedModel cannot hold 8-bit integers; expected a name ending in {known}"
        )
    if quality == "preview":
        raise InputError(
            "quality: preview halves pictures around the network, which is no part of a file; expected fast, "
            "balanced or best"
        )
    parts = [target, target.with_suffix(".bin")] if suffix == ".xml" else [target]
    if not suffix and os.path.lexists(target):
        raise FileError(f"{shown(target)}: expected the name of a new folder, found something there")
    for part in parts:
        check_replaceable(part)
    content, assumed = open_generator(catalogue.DEFAULT if source is None else source, quality, assumed)
    model = folded(content.build(dtype="float32", **assumed))
    about = contract.about(model, content.network)
    calibration = None
    if calibrate is not None:
        about = replace(about, precision="int8")
        calibration = int8.read_calibration(calibrate, about.needs.multiple, about.channels)
    keras_run = _of_keras(model)
    with folder_beside(target) as folder:
        written = [folder / part.name for part in parts]
        form.write(model, about, written[0], calibration)
        run = form.open(written[0])
        sizes = _sizes(about)
        inputs = [np.random.default_rng(0).random((1, *size, about.channels[0]), np.float32) for size in sizes]
        difference = max(float(np.abs(run(x) - keras_run(x)).max()) for x in inputs)
        cost = None
        if calibration is not None:
            exact, rounded = ([call(x) for x in calibration.inputs] for call in (keras_run, run))
            cost = calibration.cost(exact, rounded)
            if not cost < max_cost:
                raise InputError(
                    f"{shown(target)}: 8-bit integers cost {cost:.2f} dB, expected less than {max_cost:g}; nothing "
                    "is written"
                )
        elif not difference <= TOLERANCE:
            raise FileError(
                f"{shown(target)}: expected the results of Keras, found a difference of {difference:.2g}, more than "
                f"{TOLERANCE:g}; nothing is written"
            )
        for temporary, part in reversed(list(zip(written, parts, strict=True))):  # what refers to the others last
            os.replace(temporary, part)
    paired = calibration is not None and calibration.sharp is not None
    mode, axes = ("L", "[None, ..., None]") if about.channels[0] == 1 else ("RGB", "[None]")
    result = "y[0, ..., 0]" if about.channels[1] == 1 else "y[0]"
    run_it = form.example.format(path=str(target))
    example = EXAMPLE.format(imports=form.imports, run=run_it, mode=mode, axes=axes, result=result)
    in_words = quality_in_words(assumed["stages"]) if "stages" in content.assumed else None
    return Exported(form.kind, about, in_words, sizes, difference, cost, paired, example)


def _sizes(about: About) -> list[tuple[int, int]]:
    """Two sizes to check with, one of them larger than the network's window unless that is very large."""
    multiple, window = about.needs.multiple, about.needs.window
    side = -(-CHECKED_SIDE // multiple) * multiple
    long = -(-(window + 1) // multiple) * multiple if window <= CHECKED_WINDOW else 0
    return [(side, 2 * side), (max(2 * side, long), side + multiple)]


def _of_keras(model: keras.Model) -> Run:
    function = converting.served(model)
    return lambda images: function(images).numpy()


def _write_onnx(model: keras.Model, about: About, path: Path, calibration: Any) -> None:
    path.write_bytes(_onnx(model, about, calibration).SerializeToString())


def _onnx(model: keras.Model, about: About, calibration: int8.Calibration | None) -> Any:
    proto = converting.to_onnx(model, about)
    if calibration is not None:
        proto = int8.quantized(proto, calibration)
        converting.set_onnx_about(proto, about)
    return proto


def _write_openvino(model: keras.Model, about: About, path: Path, calibration: Any) -> None:
    openvino = optional("openvino")
    if calibration is None:
        converted = converting.to_openvino(model, about)
    else:
        content = _onnx(model, about, calibration).SerializeToString()
        converted = converting.named_openvino(openvino.Core().read_model(content), about)
    openvino.save_model(converted, path, compress_to_fp16=False)


def _open_engine(path: Path) -> Run:
    return engines.open_exported(path, precision="float32").run


def _write_saved_model(model: keras.Model, about: About, path: Path, calibration: Any) -> None:
    converting.write_saved_model(model, about, path)


def _open_saved_model(path: Path) -> Run:
    import tensorflow as tf

    with without_wildcards(path) as plain:
        network = tf.saved_model.load(str(plain))
    return lambda images: network.serve(images).numpy()


def _write_tflite(model: keras.Model, about: About, path: Path, calibration: Any) -> None:
    folder = path.parent / "saved_model"
    converting.write_saved_model(model, about, folder)
    with without_wildcards(folder) as plain:
        path.write_bytes(converting.to_tflite(plain, about, calibration and calibration.inputs))


def _open_tflite(path: Path) -> Run:
    interpreter = optional("ai_edge_litert.interpreter", "litert").Interpreter(
        str(path), num_threads=engines.threads()
    )
    runner = interpreter.get_signature_runner()
    return lambda images: runner(**{contract.INPUT: images})["output_0"]


@dataclass(frozen=True)
class Format:
    """A format of files: how it is written and run; a line of Python from `x` to `y`, and what that imports."""

    kind: str
    write: Callable[[keras.Model, About, Path, Any], None]
    open: Callable[[Path], Run]
    imports: str
    example: str


FORMATS = {  # by the target's extension
    ".onnx": Format(
        "ONNX",
        _write_onnx,
        _open_engine,
        "import onnxruntime",
        'onnxruntime.InferenceSession("{path}").run(None, {{"blurred": x}})[0]',
    ),
    ".xml": Format(
        "OpenVINO IR",
        _write_openvino,
        _open_engine,
        "import openvino",
        'openvino.compile_model("{path}", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})(x)[0]',
    ),
    ".tflite": Format(
        "LiteRT",
        _write_tflite,
        _open_tflite,
        "from ai_edge_litert.interpreter import Interpreter",
        'Interpreter("{path}").get_signature_runner()(blurred=x)["output_0"]',
    ),
    "": Format(
        "SavedModel",
        _write_saved_model,
        _open_saved_model,
        "import tensorflow as tf",
        '(network := tf.saved_model.load("{path}")).serve(x).numpy()',
    ),
}
EXAMPLE = """{imports}
import numpy as np
from PIL import Image

x = np.asarray(Image.open("blurred.png").convert("{mode}"), np.float32){axes} / 255
y = {run}
Image.fromarray(({result} * 255).round().astype(np.uint8)).save("restored.png")"""
