"""Detectors from files: ONNX and LiteRT (.tflite), with the usual outputs of YOLO and of SSD.

What a network takes and gives is told by the shapes and names in its file:

- one output is YOLO's: rows of left, top, right, bottom, score, class where its graph has removed doubles already
  (count, 6); else centre, width and height with a score for each class, (4 + classes, count) as YOLOv8 and its
  successors, or with one score of being a thing before those, (count, 5 + classes) as YOLOv5;
- three or more are SSD's, as TensorFlow's Object Detection API exports them: boxes of top, left, bottom, right from 0
  to 1, their classes and scores, and how many there are.

Pictures are resized to what the network takes: for YOLO with their proportions kept, on grey, as floats from 0 to 1;
for SSD with their proportions not kept, as floats from -1 to 1. Whole numbers are 0 to 255.
"""

import ast
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import FileError, InputError, prefixed
from deblurgan.files import reason, shown
from deblurgan.pictures.pixels import resize
from deblurgan.runtimes.contract import optional
from deblurgan.runtimes.engines import onnxruntime_errors, open_session, said
from deblurgan.scoring.detections import Detections, letterboxed, without_doubles
from deblurgan.untrusted import opened

FORMATS = (".onnx", ".tflite")
LARGEST_OVERLAP = 0.45  # of two boxes of one class, where the graph has not removed doubles

_MULTIPLE = 32  # of the sides of a picture for a network that takes any
_GREY = 114  # around pictures, as YOLO is trained
_RELATIVE = 2  # the largest coordinate is above this unless they are parts of the sides
_SSD = {"boxes": "detection_boxes", "classes": "detection_classes", "scores": "detection_scores"}

Outputs = Mapping[str, NDArray]
Run = Callable[[NDArray], Outputs]


class FileDetector:
    """The detector in a file: uint8 RGB (height, width, 3) -> `Detections` of at least a score.

    Args:
        path: ends in .onnx or .tflite.
        score: from 0 to 1.

    Raises:
        FileError: missing, damaged, or no network from one picture to boxes.
        InputError: another format, or the package that runs it is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], score: float) -> None:
        ending = Path(path).suffix.lower()
        if ending not in FORMATS:
            raise InputError(f"{shown(path)}: expected a detector in a file that ends in {' or '.join(FORMATS)}")
        with opened(path, "a detector"):
            pass
        self._path, self._score = path, score
        self._run, shape, self._dtype, self._outputs, self.names = (_onnx if ending == ".onnx" else _tflite)(path)
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise FileError(f"{shown(path)}: expected an input of one RGB picture, found the shape {shape}")
        self._first = shape[3] != 3  # channels before height and width
        sides = shape[2:] if self._first else shape[1:3]
        self._sides: Any = None if None in sides else sides
        self(
            np.zeros((_MULTIPLE, _MULTIPLE, 3), np.uint8)
        )  # what gives no boxes is told before pictures are restored

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Detect; boxes are in pixels of the image."""
        height, width = image.shape[:2]
        size = self._sides or (_MULTIPLE * math.ceil(height / _MULTIPLE), _MULTIPLE * math.ceil(width / _MULTIPLE))
        with prefixed(shown(self._path), FileError):
            if self._outputs == 1:
                canvas, placed = letterboxed(image, size, fill=_GREY)
                (output,) = self._run(self._input(canvas, 0, 255)).values()
                return placed(_yolo(output, size, self._score))
            outputs = self._run(self._input(resize(image, size), 127.5, 127.5))
            return _ssd(outputs, (height, width), self._score)

    def _input(self, pixels: NDArray[np.uint8], shift: float, scale: float) -> NDArray:
        values = (pixels - np.float32(shift)) / np.float32(scale) if self._dtype.kind == "f" else pixels
        if self._dtype == np.int8:
            values = pixels.astype(np.int16) - 128
        return np.ascontiguousarray((values.transpose(2, 0, 1) if self._first else values)[None], self._dtype)


def _yolo(output: NDArray, size: tuple[int, int], least: float) -> Detections:
    """Return what the one output of a YOLO says, in pixels of what it was given."""
    rows = np.asarray(output, np.float32)
    if rows.ndim == 3 and len(rows) == 1:
        rows = rows[0]
    by_columns = rows.ndim == 2 and rows.shape[0] < rows.shape[1] != 6  # rows of 6 may be few
    rows = rows.T if by_columns else rows
    if rows.ndim != 2 or rows.shape[1] < 5:
        raise FileError(f"expected boxes of YOLO, one picture's, found an output of the shape {output.shape}")
    relative = np.abs(rows[:, :4]).max(initial=0) <= _RELATIVE
    sides = np.array([size[1], size[0]] * 2) if relative else 1
    if rows.shape[1] == 6 and not by_columns and not np.any(rows[:, 5] % 1):  # classes, not scores of a single one
        found = Detections(rows[:, :4] * sides, rows[:, 4], rows[:, 5].astype(int))
        return found[found.scores >= least].surest()
    scores = rows[:, 4:] if by_columns else rows[:, 5:] * rows[:, 4:5]
    centres, halves = rows[:, :2], rows[:, 2:4] / 2
    found = Detections.of_scores(np.hstack([centres - halves, centres + halves]) * sides, scores, least)
    return without_doubles(found, LARGEST_OVERLAP)


def _ssd(outputs: Outputs, size: tuple[int, int], least: float) -> Detections:
    """Return what the outputs of an SSD say, in pixels of a picture of that height and width."""
    arrays = _named(outputs)
    boxes, classes, scores = (np.asarray(arrays[kind], np.float32) for kind in ("boxes", "classes", "scores"))
    if (
        boxes.ndim != 3
        or boxes.shape[2] != 4
        or len(boxes) != 1
        or not classes.shape == scores.shape == boxes.shape[:2]
    ):
        shapes = ", ".join(str(array.shape) for array in outputs.values())
        raise FileError(f"expected boxes, classes and scores of SSD, found outputs of the shapes {shapes}")
    height, width = size
    boxes = boxes[0][:, [1, 0, 3, 2]].clip(0, 1) * [width, height, width, height]
    found = Detections(boxes, scores[0], classes[0].astype(int))
    return found[found.scores >= least].surest()


def _named(outputs: Outputs) -> dict[str, NDArray]:
    """Tell boxes, classes and scores apart: by their names, else by shapes, and scores by not being whole numbers."""
    if set(_SSD.values()) <= set(outputs):
        return {kind: outputs[name] for kind, name in _SSD.items()}
    boxes = [array for array in outputs.values() if array.ndim == 3]
    others = [array for array in outputs.values() if array.ndim == 2]
    if len(boxes) != 1 or len(others) != 2:
        shapes = ", ".join(str(array.shape) for array in outputs.values())
        raise FileError(f"expected boxes, classes and scores of SSD, found outputs of the shapes {shapes}")
    whole = sorted(others, key=lambda array: bool(np.any(array % 1)))  # whole numbers first
    return {"boxes": boxes[0], "classes": whole[0], "scores": whole[1]}


Opened = tuple[Run, tuple[int | None, ...], np.dtype, int, Sequence[str]]


def _onnx(path: str | os.PathLike[str]) -> Opened:
    session, _ = open_session(path)
    (taken, *more), outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
    if more:
        raise FileError(f"{shown(path)}: expected a detector with one input, found {len(more) + 1}")
    shape = tuple(side if isinstance(side, int) else None for side in taken.shape)
    dtype = np.dtype({"tensor(float16)": "f2", "tensor(uint8)": "u1", "tensor(int8)": "i1"}.get(taken.type, "f4"))
    names = said(session, "names") or ""

    def run(images: NDArray) -> Outputs:
        try:
            return dict(zip(outputs, session.run(None, {taken.name: images}), strict=True))
        except onnxruntime_errors() as error:
            raise FileError(f"does not run: {reason(error)[:200]}") from error

    return run, shape, dtype, len(outputs), _names(names)


def _names(text: str) -> Sequence[str]:
    """Return the classes that Ultralytics writes into ONNX files, as a literal of Python; none of anything else."""
    try:
        found: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the latter of text made to be deep
        return ()
    return [str(name) for name in found.values()] if isinstance(found, dict) else ()


def _tflite(path: str | os.PathLike[str]) -> Opened:
    module = optional("ai_edge_litert.interpreter", "litert")
    try:
        interpreter = module.Interpreter(os.fspath(path))
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise FileError(f"{shown(path)}: not a readable LiteRT file: {reason(error)[:200]}") from error
    (taken, *more), outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if more:
        raise FileError(f"{shown(path)}: expected a detector with one input, found {len(more) + 1}")

    def run(images: NDArray) -> Outputs:
        try:
            interpreter.set_tensor(taken["index"], images)
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise FileError(f"does not run: {reason(error)[:200]}") from error
        return {output["name"]: _floats(interpreter.get_tensor(output["index"]), output) for output in outputs}

    return run, tuple(map(int, taken["shape"])), np.dtype(taken["dtype"]), len(outputs), ()


def _floats(values: NDArray, details: Mapping[str, Any]) -> NDArray:
    scale, zero = details["quantization"]
    return (values.astype(np.float32) - zero) * scale if scale else values
