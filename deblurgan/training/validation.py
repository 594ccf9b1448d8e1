"""How well a generator in training restores whole pictures that it was not trained on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import FileError, InputError, prefixed
from deblurgan.pictures.pixels import with_channels
from deblurgan.scoring import metrics
from deblurgan.training.logs import picture_grid
from deblurgan.training.progress import Progress

GRID_ROWS = 4
NO_TITLES = {"blurred": "", "restored": "", "sharp": ""}


class Readable(Protocol):
    """A blurred and a sharp picture, such as a `Pair`."""

    @property
    def name(self) -> str:
        """What they are called."""

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return both; raise FileError where one cannot be read."""


class Validation:
    """Restores the validation pictures at full size and scores the results.

    Args:
        pairs: what to validate on; without any there are no scores.
        samples: what to restore and show where there are no pairs.
        restore: the present generator.
        progress: is told how far it is.
        panels: what the grid shows of each pair, with titles; see `Recipe.panels`.
        judge: from a blurred and a restored picture to the critic's answer as a picture; for the panel "critic".

    Attributes:
        shows: what the grid is.
        grid: the panels of the first few pairs, as restored last.
        bad: by name, why pairs could not be read.
    """

    def __init__(
        self,
        pairs: Sequence[Readable],
        samples: Sequence[Readable],
        restore: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
        progress: Progress,
        panels: Mapping[str, str] = NO_TITLES,
        judge: Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
    ) -> None:
        self.pairs = pairs
        self.samples = samples
        self.restore = restore
        self.progress = progress
        self.panels = panels
        self.judge = judge
        self.shows = ", ".join(title or name for name, title in panels.items())
        self.bad: dict[str, str] = {}
        self.grid: NDArray[np.uint8] = np.full((4, 4, 3), 255, np.uint8)

    def of_blurred(self) -> Mapping[str, float]:
        """Return the mean scores of the blurred pictures as they are: what training must beat."""
        pictures = self._pictures(self.pairs)
        return _means([_scores(sharp, blurred) for _, blurred, sharp in pictures if blurred.shape == sharp.shape])

    def score(self) -> dict[str, float]:
        """Restore the pictures and return the mean scores, if there are pairs: `val_psnr` and `val_ssim`."""
        scores: list[tuple[float, float]] = []
        rows: list[list[NDArray[np.uint8]]] = []
        shown = self.pairs or self.samples
        for number, (name, blurred, sharp) in enumerate(self._pictures(shown), 1):
            with prefixed(f"validation/{name}", InputError):
                restored = self.restore(blurred)
                if self.pairs:
                    scores.append(_scores(with_channels(sharp, restored.shape[2]), restored))
            if len(rows) < GRID_ROWS:
                pictures = {"blurred": blurred, "restored": restored, "sharp": sharp}
                if self.judge is not None:
                    pictures["critic"] = self.judge(blurred, restored)
                rows.append([pictures[name] for name in self.panels])
            self.progress.validating(number, len(shown))
        if rows:
            self.grid = picture_grid(rows, titles=list(self.panels.values()))
        return _means(scores)

    def _pictures(self, pairs: Sequence[Readable]) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
        for pair in pairs:
            try:
                with prefixed(f"validation/{pair.name}", InputError):
                    pictures = pair.read()
                yield pair.name, *pictures
            except FileError as error:
                self.bad[pair.name] = str(error)


def _scores(sharp: NDArray[np.uint8], image: NDArray[np.uint8]) -> tuple[float, float]:
    if sharp.shape[2] == 3:
        return metrics.psnr(sharp, image), metrics.ssim(sharp, image)
    channels = list(zip(np.moveaxis(sharp, 2, 0), np.moveaxis(image, 2, 0), strict=True))
    beside = [np.concatenate(side, axis=1) for side in zip(*channels, strict=True)]
    return metrics.psnr(*beside), float(np.mean([metrics.ssim(*channel) for channel in channels]))


def _means(scores: Sequence[tuple[float, float]]) -> dict[str, float]:
    if not scores:
        return {}
    psnr, ssim = np.mean(scores, axis=0)
    return {"val_psnr": float(psnr), "val_ssim": float(ssim)}
