"""Restoring pictures: an image in, an image of the same size and kind out, in bounded memory."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from deblurgan.devices import require_own_process
from deblurgan.errors import InputError
from deblurgan.pictures.pixels import as_rgb, with_channels
from deblurgan.restoring import memory as memories
from deblurgan.restoring import tiles
from deblurgan.restoring.graph import Compiled, Image, OfEngine, top
from deblurgan.runtimes import engines
from deblurgan.runtimes.contract import LEAST_INPUT

DEFAULT_ROOM = 1_800_000_000  # bytes for pictures and the network, unless half of what is free is less
WARM_UP = 80_000_000  # bytes that TensorFlow takes for itself when a network first runs
# The next three are as `benchmarks/tiles.py` measured them.
OVERHEAD = 1.4  # of activations: the convolutions' own buffers
RESULT_BYTES = 36  # for each pixel of a tile: its result, and copies of it on the way to the picture
ROW_BYTES = 18  # for each pixel of the rows that are being put together
MOST_OVERLAP = 128  # pixels; what lies farther away has little influence, and is blended over
BLEND = 32  # pixels to each side of an edge between tiles that do not agree exactly
ALIKE_OVERLAP = 32  # pixels that two tiles share where all are alike
ALIKE_STEP = 8  # pixels; where such tiles may start
SAMPLE_SIDE = 64  # pixels; of the squares that statistics are measured on: many small ones see more of a picture
SAMPLE_VALUES = 4  # but not less than so many values along a side of them where a network has the fewest

TURNS = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]


class Restorer:
    """Restores RGB images of any size with any generator.

    Scaling, the network and rounding are one compiled graph. A picture that does not fit into the memory is restored
    in tiles, as large as fit. What that changes depends on the network:

    - Each pixel depends on others up to some distance only (BatchNorm or none): tiles see as far, and the result is
      that of the whole picture.
    - Each pixel depends on others far away (a U-Net; the windows of NAFNet): tiles see 128 pixels of their
      surroundings, or as many as the network's halvings need, and are blended into each other over 64.
    - Instance normalisation: all tiles are normalised with the same statistics, those of squares spread evenly over
      the picture, as many as fit into the memory. They differ a little from those of the whole picture, but not from
      tile to tile, so that there are no seams.
    - The mean of the whole picture (NAFNet without `local_window`): each tile takes its own, and tiles are blended.
    - Mixing over all of whatever it is given (MAXIM): pictures are always restored in tiles of the sizes that score
      best, all alike, each at least 32 pixels into the next and blended over these.

    Args:
        model: from float32 (count, height, width, 3) RGB in [-1, 1] to the same, for any height and width; or with 1
            channel: it is given the grey of pictures then, and what it makes gets three equal channels; or with
            others, which pictures have then. Weights that it is given later are used as well. Or a network in another
            engine, which cannot share statistics among tiles: with instance normalisation it restores in one piece
            only.
        memory: how much this process may hold in all while it restores, Python and TensorFlow included: bytes, or a
            text like "2GB". None: 2 GB for the network, or half of what is free where that is less.
        tta: restore each of the 8 ways in which the image can be turned and mirrored, and average (self-ensemble).
        strength: from 0 (the input) to 1 (the restored image); values between blend the two.
        fixed: whether the weights stay as they are now, so that what is computed of them alone need not be again.

    Attributes:
        needs: what the network needs when it restores a part of a picture.
        channels: how many the network takes and gives.
        tta, strength: as above; they may be changed.
        on_tile: called after each tile of a picture with how many are done and how many there are, turns counted.
        pixels_done: how many it has restored so far, tile by tile.
        engine: what computes, one of `runtimes.ENGINES`.
        engine_precision: what another engine than TensorFlow computes in; None for TensorFlow.
        quality: which of `QUALITIES` this is, and what it means, in words; None for a network without stages.

    Raises:
        InputError: a network of other channels, or an argument that is not as above.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.model import generator_model
        >>> from deblurgan.restoring.restorer import Restorer
        >>> restore = Restorer(generator_model((None, None, 3), ngf=4, n_blocks=1))
        >>> restore(np.zeros((30, 40, 3), np.uint8)).shape
        (30, 40, 3)
    """

    def __init__(
        self,
        model: keras.Model | engines.Engine,
        *,
        memory: int | str | None = None,
        tta: bool = False,
        strength: float = 1.0,
        fixed: bool = False,
    ) -> None:
        if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not 0 <= strength <= 1:
            raise InputError(f"strength: expected a number from 0 to 1, received {strength!r}")
        if not isinstance(tta, bool):
            raise InputError(f"tta: expected True or False, received {tta!r}")
        self._run = OfEngine(model) if isinstance(model, engines.Engine) else Compiled(model, fixed=fixed)
        self.needs = self._run.needs
        self.channels = self._run.channels
        self._taken, self._given = (3 if number == 1 else number for number in self.channels)
        if strength != 1 and self._taken != self._given:
            raise InputError(f"strength: expected 1 with a network of {self.channels} channels, received {strength}")
        self._takes_statistics = self._run.takes_statistics
        self.engine, self.engine_precision = self._run.engine, self._run.precision
        self._memory = memory
        self._room = _room(memory)
        self.tta, self.strength = tta, strength
        self.quality: str | None = None
        self.on_tile: Callable[[int, int], object] = lambda done, total: None
        self.pixels_done = 0.0
        multiple = self.needs.multiple
        self._overlap = -(-min(self.needs.reach, MOST_OVERLAP) // multiple) * multiple
        agree = self._takes_statistics or self.needs.local
        self._blend = 0 if agree and self.needs.reach <= self._overlap else min(BLEND, self._overlap // 2)
        if self.needs.tile is not None:
            self._blend = ALIKE_OVERLAP // 2
        self._bytes_per_pixel = self.needs.bytes_per_pixel * OVERHEAD + RESULT_BYTES
        self._band = ROW_BYTES / self._bytes_per_pixel

    @property
    def _turns(self) -> list[tuple[int, bool]]:
        return TURNS if self.tta else TURNS[:1]

    def __call__(self, image: Image) -> Image:
        """Return `image` restored, with the same shape and dtype.

        Args:
            image: RGB (height, width, 3), or of the network's channels where it has more; uint8, uint16, or float32
                in [0, 1]. Integers are rounded once, at the end.

        Raises:
            InputError: another shape or dtype, or too little memory for the smallest tiles.
        """
        check(image, self._taken)
        height, width = image.shape[:2]
        parts = self._cut(height, width, 2 * image.nbytes)
        padded = _padded(with_channels(image, self.channels[0]), parts)
        if len(parts[0]) == len(parts[1]) == 1 and len(self._turns) == self.strength == 1:
            output = as_rgb(self._run(padded[np.newaxis], image.dtype)[0, :height, :width])
            self.pixels_done += height * width
            return output
        statistics = self._statistics(padded, parts)
        done, total = itertools.count(1), len(parts[0]) * len(parts[1]) * len(self._turns)

        def restored(rows: slice, columns: slice) -> NDArray[np.float32]:
            tile = padded[rows, columns]
            outputs = np.zeros((*tile.shape[:2], self.channels[1]), np.float32)
            for turn, known in zip(self._turns, statistics, strict=True):
                outputs += _turned_back(self._run(_turned(tile, turn)[np.newaxis], np.float32, known)[0], turn)
                self.pixels_done += height * width / total
                self.on_tile(next(done), total)
            return outputs / np.float32(len(self._turns))

        output = np.empty((height, width, self._given), image.dtype)
        for rows, values in tiles.stitched(*parts, self._blend, restored, self._given):
            given = image[rows]
            output[rows] = mixed(given, values[: len(given), :width], self.strength)
            del values  # before more come
        return output

    def batch(self, images: Sequence[Image]) -> list[Image]:
        """Return `images` restored, all of the same shape and dtype, as many in one run of the network as fit.

        Raises:
            InputError: as for a single image, or images that differ in shape or dtype.
        """
        for image in images:
            check(image, self._taken)
            if image.shape != images[0].shape or image.dtype != images[0].dtype:
                found = f"{image.dtype} {image.shape}"
                raise InputError(
                    f"images: expected all as the first, {images[0].dtype} {images[0].shape}, found {found}"
                )
        if len(images) == 0:
            return []
        height, width = images[0].shape[:2]
        held = 2 * sum(image.nbytes for image in images)
        parts = self._cut(height, width, held)
        count = self._pixels(held) // (parts[0][-1].see_to * parts[1][-1].see_to)
        if count < 2 or len(parts[0]) * len(parts[1]) > 1 or len(self._turns) > 1 or self.strength != 1:
            return [self(image) for image in images]
        padded = [_padded(with_channels(image, self.channels[0]), parts) for image in images]
        outputs: list[Image] = []
        for start in range(0, len(images), count):
            results = self._run(np.stack(padded[start : start + count]), images[0].dtype)
            outputs += list(as_rgb(results[:, :height, :width]))
            self.pixels_done += len(results) * height * width
        return outputs

    def tile_plan(self, height: int, width: int, dtype: Any = np.uint8) -> tuple[list[tiles.Span], list[tiles.Span]]:
        """Return how a picture would be cut: the parts of its height and those of its width, padding included."""
        return self._cut(height, width, 2 * height * width * 3 * np.dtype(dtype).itemsize)

    def _pixels(self, held: int) -> int:
        """How many pixels the network can be given at once beside pictures of `held` bytes."""
        return max(0, int((self._room - held) / self._bytes_per_pixel))

    def _cut(self, height: int, width: int, held: int) -> tuple[list[tiles.Span], list[tiles.Span]]:
        """How to cut a picture beside pictures of `held` bytes; the parts end where it has to be padded to."""
        multiple, tile, pixels = self.needs.multiple, self.needs.tile, self._pixels(held)
        try:
            if tile is not None:
                sides = range(max(multiple, tile - multiple), tile + 2 * multiple + 1, multiple)
                limits: dict[str, Any] = {"overlap": ALIKE_OVERLAP, "multiple": ALIKE_STEP}
                return tiles.cut_alike(height, width, sides=sides, best=tile, pixels=pixels, **limits)
            height, width = (max(LEAST_INPUT, -(-side // multiple) * multiple) for side in (height, width))
            limits = {"overlap": self._overlap, "multiple": multiple, "least": max(1, 2 * self._blend)}
            return tiles.cut(height, width, pixels=pixels, band=self._band, **limits)
        except tiles.TooFewPixelsError as error:
            more = (error.needed * self._bytes_per_pixel + held - self._room) / 1e6
            raise InputError(
                f"memory: expected {more:.0f} MB more for tiles of {error.needed} pixels, received {self._memory}"
            ) from error

    def _statistics(self, padded: Image, parts: tuple[Sequence[tiles.Span], Sequence[tiles.Span]]) -> list[Any]:
        """The statistics that all tiles are normalised with, for each turn; None where there are none."""
        if not self._takes_statistics or len(parts[0]) == len(parts[1]) == 1:
            return [None] * len(self._turns)
        largest = max(row.see_to - row.see_from for row in parts[0]) * max(c.see_to - c.see_from for c in parts[1])
        multiple = self.needs.multiple
        side = min(max(SAMPLE_SIDE, SAMPLE_VALUES * multiple), int(largest**0.5)) // multiple * multiple
        places = tiles.samples(*padded.shape[:2], pixels=largest, side=side, multiple=multiple)
        squares = np.stack([padded[place] for place in places])
        return [self._run.measured(_turned(squares, turn, axes=(1, 2))) for turn in self._turns]


def check(image: Image, channels: int = 3) -> None:
    """Raise InputError for an image that is not as `Restorer.__call__` wants it, and in a fork of the process."""
    require_own_process()
    kinds = (np.uint8, np.uint16, np.float32)
    if image.dtype not in kinds or image.ndim != 3 or image.shape[2] != channels or 0 in image.shape:
        expected = f"uint8, uint16 or float32 (height, width, {channels})"
        raise InputError(f"image: expected {expected}, received {image.dtype} {image.shape}")


def _room(memory: int | str | None) -> int:
    """Return how many bytes pictures and activations may take."""
    if memory is not None:
        return memories.parse_size(memory) - memories.resident() - WARM_UP
    free = memories.available()
    return DEFAULT_ROOM if free is None else min(DEFAULT_ROOM, free // 2)


def _padded(image: Image, parts: tuple[Sequence[tiles.Span], Sequence[tiles.Span]]) -> Image:
    """Mirror the image at its lower and right edge up to where the parts end."""
    more = [(0, spans[-1].see_to - side) for spans, side in zip(parts, image.shape[:2], strict=True)]
    return np.pad(image, [*more, (0, 0)], mode="reflect") if any(after for _, after in more) else image


def _turned(images: Image, turn: tuple[int, bool], axes: tuple[int, int] = (0, 1)) -> Image:
    turns, mirrored = turn
    images = np.rot90(images, turns, axes)
    return np.flip(images, axes[1]) if mirrored else images


def _turned_back(image: Image, turn: tuple[int, bool]) -> Image:
    turns, mirrored = turn
    return np.rot90(np.flip(image, 1) if mirrored else image, -turns)


def mixed(image: Image, restored: NDArray[np.float32], strength: float) -> Image:
    """Mix `image` with what was restored of it, float32 in [0, 1], which is lost; round to the dtype of `image`."""
    restored *= np.float32(top(image.dtype))
    if strength != 1:
        restored -= image
        restored *= np.float32(strength)
        restored += image
    return (restored if image.dtype == np.float32 else np.rint(restored, out=restored)).astype(image.dtype)
