"""What a run leaves to look at: a CSV of its epochs, TensorBoard events, a grid of pictures."""

import contextlib
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deblurgan.errors import FileError
from deblurgan.files import atomic_path, ensure_folder, reason, shown
from deblurgan.pictures.pixels import as_shown, side_by_side
from deblurgan.pictures.writing import encode_png


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one line for each row, with the first row's keys as header."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


class TensorBoard:
    """Writes scalars and pictures that TensorBoard shows; needs TensorFlow, not the tensorboard package.

    Raises:
        FileError: the folder cannot be created or written to; so does `write`.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._tf = tf
        self._folder = folder
        with self._written():
            self._writer = tf.summary.create_file_writer(str(ensure_folder(folder)))

    def write(self, step: int, scalars: Mapping[str, float], images: Mapping[str, NDArray[np.uint8]]) -> None:
        """Write the values and uint8 RGB pictures of one step to disk."""
        with self._written(), self._writer.as_default(step=step):
            for name, value in scalars.items():
                self._put(name, self._tf.constant(value, self._tf.float32), "scalars")
            for name, image in images.items():
                height, width = image.shape[:2]
                content = [str(width).encode(), str(height).encode(), encode_png(image)]
                self._put(name, self._tf.constant(content), "images")
            self._writer.flush()

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except (self._tf.errors.OpError, ValueError) as error:  # ValueError: a name that is not Unicode
            raise FileError(
                f"{shown(self._folder)}: TensorBoard's events cannot be written: {reason(error)}"
            ) from error

    def _put(self, tag: str, tensor: Any, plugin: str) -> None:
        metadata = self._tf.compat.v1.SummaryMetadata(
            plugin_data=self._tf.compat.v1.SummaryMetadata.PluginData(plugin_name=plugin)
        )
        self._tf.summary.write(tag, tensor, metadata=metadata)


def picture_grid(
    rows: Sequence[Sequence[NDArray[np.uint8]]], side: int = 256, titles: Sequence[str] = ()
) -> NDArray[np.uint8]:
    """Stack rows of equally many pictures, each row's centre squares (at most `side` wide) beside each other.

    Above them stand the titles of the columns, where there are any.
    """
    strips = []
    if any(titles):
        strips.append(_titles(titles, min(side, *rows[0][0].shape[:2])))
    for row in rows:
        square = min(side, *row[0].shape[:2])
        top, left = ((length - square) // 2 for length in row[0].shape[:2])
        squares = [as_shown(image[top : top + square, left : left + square]) for image in row]
        strips.append(side_by_side(squares, gap=4))
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(strip, ((0, 4), (0, width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    return np.concatenate(padded)[:-4]


def _titles(titles: Sequence[str], square: int) -> NDArray[np.uint8]:
    """A white strip with each title over its square, cut off where that ends."""
    font = ImageFont.load_default(14)
    labels = []
    for title in titles:
        label = Image.new("RGB", (square, 20), "white")
        draw = ImageDraw.Draw(label)
        draw.text((max(0.0, (square - draw.textlength(title, font)) / 2), 2), title, "black", font)
        labels.append(np.asarray(label))
    return side_by_side(labels, gap=4)
