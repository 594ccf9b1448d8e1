"""The tutorial's helpers under its names; thin, over `pictures` and `data`. Nothing in the package imports this."""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deblurgan.data.pairs import match_pairs
from deblurgan.errors import InputError
from deblurgan.files import ensure_folder
from deblurgan.pictures.formats import is_an_image_file
from deblurgan.pictures.listing import list_images
from deblurgan.pictures.pixels import from_model, resize, to_model
from deblurgan.pictures.reading import read_rgb
from deblurgan.pictures.writing import write_image

__all__ = [
    "RESHAPE",
    "deprocess_image",
    "is_an_image_file",
    "list_image_files",
    "load_image",
    "load_images",
    "preprocess_image",
    "save_image",
    "write_log",
]

RESHAPE = (256, 256)


def list_image_files(directory: str | os.PathLike[str]) -> list[str]:
    """The paths of the image files directly in `directory`, sorted by name; see `listing.list_images`.

    Raises:
        FileError: the folder is missing, is not a folder, or cannot be listed.

    Examples:
        >>> from deblurgan.utils import list_image_files
        >>> list_image_files("images/test/A")
        ['images/test/A/one.png']
    """
    return [os.path.join(directory, path.name) for path in list_images(directory)]


def load_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file as a Pillow image, RGB and upright by its EXIF orientation.

    Raises:
        FileError: missing, or not a readable image.

    Examples:
        >>> from deblurgan.utils import load_image
        >>> load_image("photo.jpg").mode
        'RGB'
    """
    return Image.fromarray(read_rgb(path))


def preprocess_image(cv_img: Image.Image) -> NDArray[np.float32]:
    """Squash a Pillow image to `RESHAPE` and return float32 (256, 256, 3) RGB in [-1, 1].

    Examples:
        >>> from deblurgan.utils import load_image, preprocess_image
        >>> preprocess_image(load_image("photo.jpg")).shape
        (256, 256, 3)
    """
    width, height = RESHAPE
    return to_model(resize(np.array(cv_img.convert("RGB")), (height, width)))


def deprocess_image(img: np.ndarray) -> NDArray[np.uint8]:
    """Turn values in [-1, 1], of any shape, into uint8 0 to 255: clipped and rounded.

    Raises:
        InputError: the array holds whole numbers, or values that are not finite.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.utils import deprocess_image
        >>> deprocess_image(np.array([-1.0, 0.0, 1.5])).tolist()
        [0, 128, 255]
    """
    return from_model(img)


def save_image(np_arr: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Write values in [-1, 1], (height, width, 3), as an image file, which appears whole or not at all.

    Raises:
        InputError: the array does not fit, or the extension is not that of an image.
        FileError: the file cannot be written.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.utils import load_image, save_image
        >>> save_image(np.ones((8, 8, 3)), "white.png")
        >>> load_image("white.png").getpixel((0, 0))
        (255, 255, 255)
    """
    write_image(path, from_model(np_arr))


def load_images(path: str | os.PathLike[str], n_images: int) -> dict[str, np.ndarray]:
    """Load pairs of pictures, squashed to 256x256, into memory; training streams them instead, see `data`.

    Args:
        path: folder with A (blurred) and B (sharp), paired by name.
        n_images: how many pairs, the first ones by name; a negative number for all.

    Returns:
        "A" and "B": float32 (n, 256, 256, 3) RGB in [-1, 1]; "A_paths" and "B_paths": the n paths of each.

    Raises:
        FileError: a folder is missing, or a picture is not readable.
        InputError: pictures without a partner, no pictures, or an `n_images` of 0.

    Examples:
        >>> from deblurgan.utils import load_images
        >>> loaded = load_images("images/train", n_images=1)
        >>> loaded["A"].shape, loaded["B_paths"].tolist()
        ((1, 256, 256, 3), ['images/train/B/one.png'])
    """
    if n_images == 0:
        raise InputError("n_images: expected a positive number, or -1 for all, received 0")
    pairs = match_pairs(path)[: n_images if n_images > 0 else None]
    loaded: dict[str, np.ndarray] = {}
    for side, paths in (("A", [pair.blurred for pair in pairs]), ("B", [pair.sharp for pair in pairs])):
        loaded[side] = np.stack([preprocess_image(load_image(file)) for file in paths])
        loaded[f"{side}_paths"] = np.array([os.fspath(file) for file in paths])
    return loaded


def write_log(callback: Any, names: Iterable[str], logs: Iterable[float], batch_no: int) -> None:
    """Write values that TensorBoard shows as curves.

    Args:
        callback: a `keras.callbacks.TensorBoard`, or anything with a `log_dir`, or with a `writer` made by
            `tf.summary.create_file_writer`. One without a writer is given one, in its `log_dir`.
        names: of the curves.
        logs: the value of each.
        batch_no: the step that they belong to.

    Raises:
        InputError: there are not as many names as values, or the callback has neither attribute.
        FileError: the folder `log_dir` cannot be created or written to.

    Examples:
        >>> from keras.callbacks import TensorBoard
        >>> from deblurgan.utils import write_log
        >>> write_log(TensorBoard("logs"), ["g_loss", "d_loss"], [0.5, 0.25], batch_no=1)
    """
    import tensorflow as tf

    names, values = list(names), [float(value) for value in logs]
    if len(names) != len(values):
        raise InputError(f"write_log: expected a value for each of {len(names)} names, received {len(values)}")
    if getattr(callback, "writer", None) is None:
        if not hasattr(callback, "log_dir"):
            raise InputError(f"write_log: expected a callback with log_dir or writer, received {callback!r}")
        callback.writer = tf.summary.create_file_writer(str(ensure_folder(callback.log_dir)))
    plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")  # needs no tensorboard package
    metadata = tf.compat.v1.SummaryMetadata(plugin_data=plugin)
    with callback.writer.as_default(step=batch_no):
        for name, value in zip(names, values, strict=True):
            tf.summary.write(name, tf.constant(value, tf.float32), metadata=metadata)
    callback.writer.flush()
