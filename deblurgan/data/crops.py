"""An endless, reproducible stream of paired crops from several sources, fast enough to feed training.

The stream is a sequence of visits: a visit opens one picture and cuts `crops_per_picture` crops out of it, which are
then spread over the stream so that neighbours come from different pictures and the work is even: of each round of so
many crops the first is of a new visit, the second of one begun a few rounds earlier, and so on.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deblurgan.data.cache import Cache
from deblurgan.data.options import AUGMENT, PREPROCESS
from deblurgan.data.pairs import choose_pairs
from deblurgan.data.shares import WHOLE, HostShare
from deblurgan.data.sources import Source, Window
from deblurgan.errors import FileError, InputError, prefixed
from deblurgan.files import shown
from deblurgan.pictures.npy import read_channels
from deblurgan.pictures.pixels import Pixels, nearest, to_model, with_channels
from deblurgan.pictures.pixels import resize as squashed

_BLOCK = 100  # visits that are shared out among the sources by weight
_MB = 2**20
_LAG = 4  # rounds between two crops of one visit
_ORDER, _PICTURES, _VISIT = range(3)  # what a random generator is for


class CropStream:
    """Pairs of crops, blurred and sharp, from one or more sources; the sharp one is NaN where there is none.

    Which crop comes at which place depends on the arguments and on the files alone, so that a training can go on at
    any place. In each pass over a source all its pictures are visited once, in a random order.

    Args:
        sources: where the pictures are from. Each gets its share by weight, rounded to percents, but at least one.
        crop_size: side of the crops, in pixels.
        batch_size: crops in a batch.
        seed: of all that is random.
        preprocess: "crop" cuts squares out of the pictures; "resize" squashes whole pictures, which then are neither
            made smaller first nor mirrored nor turned.
        downscale: pictures are made smaller by this whole number, by averaging, after blurring; the paper has 2.
        augment: "all" (or True): mirror and turn the crops by quarters: all eight ways are equally likely; "mirror":
            left to right alone; "none" (or False).
        resize: first make whole pictures squares of this side, by the nearest pixels, as pix2pix does; None leaves
            them as they are.
        candidates: cut the most textured of so many random windows, judged by the sharp picture where there is one; 1
            takes any.
        crops_per_picture: how many crops are cut at a visit. The more, the less time is spent on reading files.
        channels: of the blurred and of the sharp crops: 3 for RGB, 1 for grey, others for pictures that have them.
        n_images: pictures of each source to use, drawn with `seed`; negative for all.
        cache_mb: memory for the crops that are to come and for pictures that were read, in units of 2**20 bytes. The
            pictures under way come on top: about 100 in all for photographs of a megapixel and two workers.
        workers: crops that are prepared at the same time.

    Attributes:
        bad: by name, why a file is not used. The next picture of the source takes its place.
        failure: what ended the stream: no picture of a source can be read any more. tf.data raises an error of its
            own then.

    Raises:
        InputError: an argument is out of range, or a source has no picture that fits; see `Source.checked`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        crop_size: int,
        batch_size: int,
        seed: int = 0,
        preprocess: str = "crop",
        downscale: int = 1,
        augment: bool | str = True,
        resize: int | None = None,
        candidates: int = 1,
        crops_per_picture: int = 8,
        channels: tuple[int, int] = (3, 3),
        n_images: int = -1,
        cache_mb: float = 1024,
        workers: int = 2,
    ) -> None:
        numbers = {
            "crop_size": crop_size,
            "batch_size": batch_size,
            "downscale": downscale,
            "candidates": candidates,
            "crops_per_picture": crops_per_picture,
            "workers": workers,
        }
        for name, number in numbers.items():
            if number < 1:
                raise InputError(f"{name}: expected at least 1, received {number}")
        if seed < 0:
            raise InputError(f"seed: expected at least 0, received {seed}")
        for name, value, known in (("preprocess", preprocess, PREPROCESS), ("augment", augment, AUGMENT)):
            if value not in known:
                raise InputError(f"{name}: expected one of {', '.join(map(str, known))}, received {value!r}")
        if not {1, 3}.issuperset(channels):
            for name, found, only in (("downscale", downscale, 1), ("preprocess", preprocess, "crop")):
                if found != only:
                    raise InputError(f"{name}: expected {only} for {channels} channels, received {found}")
        if resize is not None and (preprocess == "resize" or resize < crop_size * downscale):
            expected = (
                "none with preprocess=resize" if preprocess == "resize" else f"at least {crop_size * downscale}"
            )
            raise InputError(f"resize: expected {expected}, received {resize}")
        if not 1 <= len(sources) <= _BLOCK:
            raise InputError(f"sources: expected 1 to {_BLOCK}, received {len(sources)}")
        visits = crops_per_picture * _LAG + workers  # that are used in turn, or under way
        cache, for_visits = int(cache_mb * _MB), visits * crops_per_picture * sum(channels) * crop_size**2
        if cache < for_visits:
            raise InputError(
                f"cache_mb: expected at least {-(-for_visits // _MB)} for {crops_per_picture} crops of"
                f" {crop_size}x{crop_size} a picture, received {cache_mb}"
            )
        self._crop_size, self._batch_size, self._seed, self._downscale = crop_size, batch_size, seed, downscale
        self._squash = preprocess == "resize"
        self._resize, self._channels = resize, channels
        self._ways = AUGMENT[False if self._squash else augment]
        self._candidates, self._crops_per_picture, self._workers = candidates, crops_per_picture, workers
        self.bad: dict[str, str] = {}
        self.failure: FileError | InputError | None = None
        self._sources: list[Source] = []
        for source in sources:
            readable, bad = source.checked(1 if self._squash or resize else crop_size * downscale)
            self._sources.append(readable)
            self.bad |= bad
        self._pictures = [choose_pairs(range(len(source)), n_images, seed) for source in self._sources]
        self._weights = [
            len(pictures) if source.weight is None else source.weight
            for source, pictures in zip(self._sources, self._pictures, strict=True)
        ]
        self._shares = _shares(self._weights, _BLOCK)
        self._visits, self._files = Cache(for_visits), Cache(cache - for_visits)

    @property
    def pictures(self) -> int:
        """The number of pictures of all sources."""
        return sum(map(len, self._pictures))

    def summary(self) -> list[dict[str, Any]]:
        """Return what each source is made of, as JSON-like values; `files` is a digest of the files' names."""
        return [
            {
                "kind": source.kind,
                "folder": str(source.folder),
                "pictures": len(pictures),
                "weight": weight,
                "percent": share,
                "options": source.options(),
                "files": digest([os.path.relpath(path, source.folder) for path in source.files()]),
            }
            for source, pictures, weight, share in zip(
                self._sources, self._pictures, self._weights, self._shares, strict=True
            )
        ]

    def crop(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the crop at place `index` of the stream, from 0 on: blurred and sharp.

        Both are float32 (crop_size, crop_size, channels) in [-1, 1]; all of the sharp one is NaN where the source has
        none. Safe to call from several threads.

        Raises:
            FileError: no picture of the source can be read.
        """
        turn, place = divmod(index, self._crops_per_picture)
        visit = turn + _LAG * (self._crops_per_picture - 1 - place)
        both = to_model(self._visits.get(visit, lambda: self._crops_of(visit))[place])
        blurred, sharp = np.split(both, [self._channels[0]], axis=-1)
        shape = (self._crop_size, self._crop_size, self._channels[1])
        return blurred, sharp if sharp.size else np.full(shape, np.nan, np.float32)

    def batches(self, first: int, count: int, share: HostShare = WHOLE) -> Any:
        """Return a tf.data.Dataset of (blurred, sharp) batches, float32 (batch_size, crop_size, crop_size, channels).

        They are those of `count` steps of a training from step `first` on. Step s has the crops s * batch_size to
        (s + 1) * batch_size - 1. Of a `share` they are what each device of the host gets, in turn.
        """
        import tensorflow as tf

        def crop(index: Any) -> tuple[Any, Any]:
            images = tf.numpy_function(self.crop, (index,), (tf.float32, tf.float32))
            shapes = [(self._crop_size, self._crop_size, channels) for channels in self._channels]
            return tf.ensure_shape(images[0], shapes[0]), tf.ensure_shape(images[1], shapes[1])

        own = self._batch_size // share.hosts
        numbers = tf.data.Dataset.range(first * own, (first + count) * own)
        places = numbers.map(lambda number: self.place(number, share))
        crops = places.map(crop, num_parallel_calls=self._workers, deterministic=True)
        return crops.batch(share.of_device(self._batch_size), drop_remainder=True).prefetch(2)

    def place(self, number: Any, share: HostShare) -> Any:
        """Return at which place of the stream crop `number`, from 0, of a host's share stands.

        Where `crops_per_picture` can be shared out evenly, all crops of a visit are in the share of one host, so that
        no other has to open the picture.
        """
        if self._crops_per_picture % share.hosts or self._batch_size % self._crops_per_picture:
            return share.place(number, self._batch_size)
        each = self._crops_per_picture // share.hosts
        turn, nth = number // each, number % each
        back = (share.host - turn // _LAG) % share.hosts + (each - 1 - nth) * share.hosts
        return (turn + 1) * self._crops_per_picture - 1 - back

    def _crops_of(self, visit: int) -> Pixels:
        """Open the picture of a visit, or the next that can be read; return its crops.

        They are uint8 (crops, crop_size, crop_size, channels): the blurred one's, then the sharp one's where the
        source has them.
        """
        number, ordinal = self._source_of(visit)
        source, pictures = self._sources[number], self._pictures[number]
        one_pass, place = divmod(ordinal, len(pictures))
        start = int(self._rng(_PICTURES, number, one_pass).permutation(len(pictures))[place])
        for attempt in range(len(pictures)):
            picture = pictures[(start + attempt) % len(pictures)]
            try:
                return self._cut(source, picture, self._rng(_VISIT, number, ordinal, attempt))
            except FileError as error:
                last = error
            except InputError as error:  # two sides that differ in size since they were looked at
                self.failure = error
                raise
        self.failure = FileError(f"{shown(source.folder)}: no picture can be read any more: {last}")
        raise self.failure

    def _source_of(self, visit: int) -> tuple[int, int]:
        """Return the number of the source that a visit is to, and how many visits to it came before."""
        block, place = divmod(visit, _BLOCK)
        order = self._rng(_ORDER, block).permutation(np.repeat(np.arange(len(self._sources)), self._shares))
        number = int(order[place])
        return number, block * self._shares[number] + int(np.count_nonzero(order[:place] == number))

    def _cut(self, source: Source, picture: int, rng: np.random.Generator) -> Pixels:
        def choose(image: Pixels) -> list[Window]:
            whole = 0, 0, *image.shape[:2]
            of_all = self._squash or self._resize
            return [whole if of_all else self._window(image, rng) for _ in range(self._crops_per_picture)]

        crops = source.crops(picture, choose, rng, self._read)
        if self._resize:
            crops = [self._of_resized(sides, self._resize, rng) for sides in crops]
        ways = rng.integers(self._ways, size=len(crops)).tolist()
        with prefixed(source.called(picture), InputError):
            return np.array([self._joined(sides, way) for sides, way in zip(crops, ways, strict=True)])

    def _joined(self, sides: Sequence[Pixels], way: int) -> Pixels:
        """The channels of the blurred crop and those of the sharp one, where there is one."""
        of_each = zip(sides, self._channels, strict=False)
        return np.concatenate([with_channels(self._finished(side, way), count) for side, count in of_each], axis=-1)

    def _of_resized(self, sides: Sequence[Pixels], side: int, rng: np.random.Generator) -> tuple[Pixels, ...]:
        """Resize a whole picture and cut a window out of it."""
        resized = [nearest(image, (side, side)) for image in sides]
        top, left, height, width = self._window(resized[-1], rng)
        return tuple(image[top : top + height, left : left + width] for image in resized)

    def _window(self, image: Pixels, rng: np.random.Generator) -> Window:
        """Draw windows of a picture and return the most textured."""
        side = self._crop_size * self._downscale
        corners = rng.integers(0, np.subtract(image.shape[:2], side - 1), (self._candidates, 2)).tolist()
        if len(corners) > 1:
            corners.sort(key=lambda corner: texture(image[corner[0] :, corner[1] :][:side, :side]))
        top, left = corners[-1]
        return top, left, side, side

    def _finished(self, image: Pixels, way: int) -> Pixels:
        """Make a crop as small as it is wanted, turn it by `way // 2` quarters, and mirror it where `way` is odd."""
        if self._squash:
            return squashed(image, (self._crop_size, self._crop_size))
        if self._downscale > 1:
            image = np.asarray(Image.fromarray(np.ascontiguousarray(image)).reduce(self._downscale))
        image = np.rot90(image, way // 2)
        return image[:, ::-1] if way % 2 else image

    def _read(self, path: Path) -> Pixels:
        if str(path) in self.bad:
            raise FileError(self.bad[str(path)])
        try:
            return self._files.get(path, lambda: read_channels(path))
        except FileError as error:
            self.bad[str(path)] = str(error)
            raise

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *purpose])


def texture(image: Pixels) -> float:
    """Return the mean absolute difference between neighbours' green, in grey levels of 255, down plus right.

    Of other pictures than RGB it is that of the middle channel.
    """
    green = image[:, :, image.shape[2] // 2].astype(np.int16)
    return float(sum(np.abs(np.diff(green, axis=axis)).mean() for axis in (0, 1)))


def _shares(weights: Sequence[float], whole: int) -> list[int]:
    """Share out `whole` by weight, by largest remainders, with at least one for each."""
    exact = np.array(weights) / sum(weights) * whole
    shares = np.maximum(np.floor(exact), 1).astype(int)
    while (short := whole - shares.sum()) > 0:
        shares[np.argmax(exact - shares)] += 1
    for _ in range(-short):
        shares[np.argmax(np.where(shares > 1, shares - exact, -np.inf))] -= 1
    return shares.tolist()


def digest(names: Sequence[str]) -> str:
    """Return a short text that tells these names from others, in whatever order."""
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()[:16]
