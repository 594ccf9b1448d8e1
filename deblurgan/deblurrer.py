"""Restoring whatever a program or notebook has: an array, a Pillow image, an image file."""

import os
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deblurgan.errors import InputError
from deblurgan.files import check_no_address
from deblurgan.pictures.html import slider
from deblurgan.pictures.pillow import to_pillow
from deblurgan.pictures.pixels import Restore, channels_of, grey_of, side_by_side, to_8_bits
from deblurgan.pictures.reading import Picture, read_picture
from deblurgan.restoring.alpha import restore_with_alpha
from deblurgan.video.options import VideoOptions
from deblurgan.video.restoring import restore_video
from deblurgan.weights import catalogue

SHOWN_SIDE = 1280  # pixels; larger pictures are shown smaller in a notebook
SLACK = 0.5  # how far outside [0, 1] floats may be: interpolation overshoots, but [-1, 1] or 0 .. 255 are a mistake
KEPT = ("dpi", "exif", "icc_profile", "xmp")  # of what Pillow knows about an image besides its pixels


class Deblurrer:
    """Restores arrays, Pillow images and image files.

    Args:
        restore: RGB (height, width, 3), uint8, uint16 or float32 in [0, 1] -> the same, restored; for example from
            `opening.open_restorer`.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.deblurrer import Deblurrer
        >>> negative = Deblurrer(lambda picture: 255 - picture)
        >>> negative.restore(np.zeros((2, 2), np.uint8)).tolist()
        [[255, 255], [255, 255]]
    """

    def __init__(self, restore: Restore) -> None:
        self._restore = restore
        self._loaded: tuple[str | None, dict[str, Any]] | None = None

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Pickle, and copy, what `opened` made by its weights and options."""
        return super().__reduce_ex__(protocol) if self._loaded is None else (opened, self._loaded)

    def restore(self, image: NDArray[Any] | Image.Image | str | os.PathLike[str]) -> Any:
        """Return `image` restored: an array for an array, a Pillow image for a Pillow image or the name of a file.

        Args:
            image: an array, RGB (height, width, 3) or grey (height, width), uint8, uint16 or float32 in [0, 1]: the
                result has the same shape and dtype; for a network of other channels an array of these. A Pillow
                image: the result has the same size, is grey ("L", "I;16") where that is, has alpha where that has
                any, and is else "RGB". The name of an image file: the same, upright, of 8 bits. Colour profile, EXIF,
                XMP and resolution go along in the `info` of a Pillow image, but not the profile of CMYK or Lab, as
                the result is RGB. Of a network that makes colours of grey all results are RGB, of 8 bits in a Pillow
                image; of one that makes grey, all Pillow images grey.

        Raises:
            FileError: a file that cannot be read.
            InputError: an array of another shape, dtype or range, a Pillow image of 32-bit or floating-point values,
                or something else.

        Examples:
            >>> from PIL import Image
            >>> from deblurgan.deblurrer import Deblurrer
            >>> Deblurrer(lambda picture: 255 - picture).restore(Image.new("RGBA", (8, 6))).mode
            'RGBA'
        """
        if isinstance(image, np.ndarray):
            _check(image, channels_of(self._restore)[0])
            return self._restore(image) if image.ndim == 3 else self._of_grey(image)
        if isinstance(image, Image.Image):
            restored = self._of_pillow(image)
            info = {key: image.info[key] for key in KEPT if key in image.info}
            becomes_other = channels_of(self._restore) != (3, 3) and restored.mode[0] != image.mode[0]
            if image.mode in ("CMYK", "LAB") or becomes_other:
                info.pop("icc_profile", None)
        else:
            picture = _read(image)
            alpha = None if picture.alpha is None else to_8_bits(picture.alpha)
            restored = self._colours_and_alpha(to_8_bits(picture.rgb), alpha, picture.kind.startswith("L"))
            found = vars(picture.made_by(channels_of(self._restore)).metadata)
            info = {key: found[key] for key in KEPT if found[key] is not None}
        restored.info.update(info)
        return restored

    def compare(self, image: NDArray[np.uint8] | Image.Image | str | os.PathLike[str]) -> "Comparison":
        """Restore `image`, as `restore` does, and return it before and after; notebooks show it with a slider.

        Examples:
            >>> from deblurgan.deblurrer import Deblurrer
            >>> comparison = Deblurrer(lambda picture: 255 - picture).compare("photo.jpg")
            >>> comparison.before.shape == comparison.after.shape
            True
            >>> comparison.picture.save("before_and_after.png")
        """
        if not isinstance(image, (np.ndarray, Image.Image)):
            image = Image.fromarray(to_8_bits(_read(image).rgb))
        return Comparison(_for_show(image), _for_show(self.restore(image)))

    def restore_video(
        self, source: str | os.PathLike[str], target: str | os.PathLike[str], options: VideoOptions | None = None
    ) -> tuple[str, ...]:
        """Restore the video `source` into `target`, with all else in it; see `video.restoring.restore_video`.

        After an interruption the same call goes on where it stopped; give `options` a `settings` that names the
        weights if those may be others by then.
        """
        return restore_video(self._restore, source, target, options)

    def _of_grey(self, values: NDArray[Any]) -> NDArray[Any]:
        """Restore (height, width): the mean of the channels that come out, in the dtype that came in; or colours."""
        restored = self._restore(np.repeat(values[:, :, np.newaxis], 3, axis=2))
        if channels_of(self._restore) == (1, 3):
            return restored
        mean = restored.mean(axis=2, dtype=np.float64)
        return (mean if values.dtype == np.float32 else np.rint(mean)).astype(values.dtype)

    def _colours_and_alpha(self, rgb: NDArray[Any], alpha: NDArray[Any] | None, grey: bool) -> Image.Image:
        """Restore a picture of 8 bits, grey or in colours, as the picture is unless the network makes one of them."""
        taken, given = channels_of(self._restore)
        grey = given == 1 or (grey and taken == 3)
        rgb, alpha = restore_with_alpha(self._restore, rgb, alpha)
        return to_pillow(grey_of(rgb) if grey else rgb, alpha)

    def _of_pillow(self, image: Image.Image) -> Image.Image:
        if image.mode.startswith("I;16"):
            restored = self._of_grey(np.asarray(image).astype(np.uint16))
            return Image.fromarray(restored if restored.ndim == 2 else to_8_bits(restored))
        if image.mode in ("I", "F"):
            raise InputError(f"image: expected 8 or 16 bits, received mode {image.mode!r}")
        if image.mode == "La":  # premultiplied, which Pillow converts to this alone
            image = image.convert("LA")
        mode = ("L" if image.mode in ("1", "L", "LA") else "RGB") + "A" * image.has_transparency_data
        values = np.asarray(image.convert("RGBA" if mode.endswith("A") else "RGB"))
        alpha = values[:, :, 3] if mode.endswith("A") else None
        return self._colours_and_alpha(np.ascontiguousarray(values[:, :, :3]), alpha, mode.startswith("L"))


def opened(path: str | os.PathLike[str] | None, options: dict[str, Any]) -> Deblurrer:
    """Return what `deblurgan.load` does, for the path and all options.

    Its pickle holds the options and, of weights that have a name, that, else the absolute path.
    """
    from deblurgan.restoring.opening import open_restorer

    name = None
    if path is not None:
        path = catalogue.resolve(path)
        name = catalogue.called(path)
        name = name if name in catalogue.KNOWN else os.path.abspath(path)
    deblurrer = Deblurrer(open_restorer(path, **options))
    deblurrer._loaded = name, options
    return deblurrer


@dataclass(frozen=True, repr=False)
class Comparison:
    """A picture before and after, which a notebook shows with a slider between the two.

    Attributes:
        before: uint8 (height, width, 3).
        after: the same.
    """

    before: NDArray[np.uint8]
    after: NDArray[np.uint8]

    @property
    def picture(self) -> Image.Image:
        """Both beside each other."""
        return Image.fromarray(side_by_side([self.before, self.after], 8))

    def __repr__(self) -> str:
        """Return what is said where nothing can be shown."""
        height, width = self.before.shape[:2]
        return f"<Comparison, {width}x{height}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows; it needs nothing else."""
        return slider(self.before, self.after, SHOWN_SIDE, lossless=True)


def _check(image: NDArray[Any], channels: int) -> None:
    """Raise `InputError` for an array that is not as `Deblurrer.restore` wants it, with a network of `channels`."""
    kinds = (np.uint8, np.uint16, np.float32)
    shapes: dict[tuple[int, ...], str] = {(channels,): f"(height, width, {channels})"}
    if channels in (1, 3):
        shapes = {(3,): "(height, width, 3)", (): "(height, width)"}
    if image.dtype not in kinds or image.ndim not in (2, 3) or image.shape[2:] not in shapes:
        expected = f"uint8, uint16 or float32, {' or '.join(shapes.values())}"
        raise InputError(f"image: expected {expected}, received {image.dtype} {image.shape}")
    if image.dtype == np.float32 and image.size:
        least, most = image.min(), image.max()
        if not (least >= -SLACK and most <= 1 + SLACK):  # NaN, too
            raise InputError(f"image: expected float32 in [0, 1], received values from {least:g} to {most:g}")


def _read(path: str | os.PathLike[str]) -> Picture:
    if not isinstance(path, (str, os.PathLike)):
        kind = type(path).__name__
        raise InputError(f"image: expected a NumPy array, a Pillow image or the name of a file, received {kind}")
    check_no_address(path)
    return read_picture(path)


def _for_show(image: Any) -> NDArray[np.uint8]:
    """Any picture that can be restored as uint8 (height, width, 3)."""
    if isinstance(image, Image.Image):
        if not image.mode.startswith("I;16"):
            return np.asarray(image.convert("RGB"))
        image = np.asarray(image).astype(np.uint16)
    if image.ndim == 2:
        image = np.repeat(image[:, :, np.newaxis], 3, axis=2)
    return to_8_bits(image) if image.dtype != np.float32 else np.rint(image.clip(0, 1) * 255).astype(np.uint8)
