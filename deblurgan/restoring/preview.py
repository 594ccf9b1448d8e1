"""Restoring at half the size: a quarter of the work, for a first look."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from deblurgan.restoring.graph import top
from deblurgan.restoring.restorer import Restorer, check, mixed

Image = NDArray[Any]


class HalfSizeRestorer:
    """Halves images, restores them, and adds the difference that this makes, enlarged, to the full images.

    What is finer than two pixels stays as it was.

    Args:
        restorer: restores the halves, with all that it does; its `strength` is taken for the whole.

    Attributes are those of `Restorer`.
    """

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self.strength, restorer.strength = restorer.strength, 1.0
        self.needs, self.channels = restorer.needs, restorer.channels
        self.engine, self.engine_precision = restorer.engine, restorer.engine_precision
        self.quality: str | None = "preview (1 stage at half size)"

    @property
    def on_tile(self) -> Callable[[int, int], object]:
        """What is called after each tile of a half."""
        return self._restorer.on_tile

    @on_tile.setter
    def on_tile(self, called: Callable[[int, int], object]) -> None:
        self._restorer.on_tile = called

    @property
    def tta(self) -> bool:
        """Whether halves are restored in all of their turns."""
        return self._restorer.tta

    @tta.setter
    def tta(self, wanted: bool) -> None:
        self._restorer.tta = wanted

    @property
    def pixels_done(self) -> float:
        """How many pixels have been restored so far: four for each of a half."""
        return 4 * self._restorer.pixels_done

    def __call__(self, image: Image) -> Image:
        """Return `image` restored; as `Restorer.__call__`, with its errors."""
        check(image)
        half = _halved(image)
        difference = self._restorer(half)
        difference -= half
        del half
        enlarged = _doubled(difference, image.shape[:2])
        del difference
        enlarged += image * np.float32(1 / top(image.dtype))
        return mixed(image, np.clip(enlarged, 0, 1, out=enlarged), self.strength)

    def batch(self, images: Sequence[Image]) -> list[Image]:
        """Return `images` restored, one after the other."""
        return [self(image) for image in images]

    def tile_plan(self, height: int, width: int, dtype: Any = np.uint8) -> Any:
        """Return how the half of a picture would be cut; see `Restorer.tile_plan`."""
        return self._restorer.tile_plan(-(-height // 2), -(-width // 2), np.float32)


def _halved(image: Image) -> NDArray[np.float32]:
    """The means of squares of four pixels, float32 in [0, 1]; odd sides are continued by their last pixels."""
    height, width = image.shape[:2]
    image = (
        np.pad(image, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge") if height % 2 or width % 2 else image
    )
    total = image[::2, ::2].astype(np.float32)
    for rows, columns in ((0, 1), (1, 0), (1, 1)):
        total += image[rows::2, columns::2]
    total *= np.float32(0.25 / top(image.dtype))
    return total


def _doubled(image: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Enlarge bicubically to the height and width `size`, twice those of `image` or one less."""
    height, width = size
    result = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        plane = Pillow.fromarray(np.ascontiguousarray(image[..., channel]))
        larger = plane.resize((width, height), Pillow.Resampling.BICUBIC, (0, 0, width / 2, height / 2))
        result[..., channel] = np.asarray(larger)
    return result
