"""The losses of an epoch."""

import math
from collections.abc import Mapping

from deblurgan.errors import DeblurganError

NORM = "gradient_norm"  # the one value that may be as large as it wants


class EpochLosses:
    """The losses of an epoch's steps so far, which go into a checkpoint when it is interrupted.

    Args:
        limit: the largest absolute value of a loss that is let pass.
        scaled: whether losses are scaled, so that a step whose gradients overflow is skipped and does no harm.

    Attributes:
        sums: for each loss its sum and the number of steps in it.
    """

    def __init__(self, limit: float, scaled: bool) -> None:
        self.limit = limit
        self.scaled = scaled
        self.sums: dict[str, tuple[float, int]] = {}

    def add(self, losses: Mapping[str, float]) -> None:
        """Take in the losses of a step.

        Raises:
            DeblurganError: one is no longer finite, or beyond the limit.
        """
        for name, value in losses.items():
            if not math.isfinite(value):
                if name == NORM and self.scaled:
                    continue
                raise DeblurganError(f"{name} is {value:g}, no longer finite")
            if abs(value) > self.limit and name != NORM:
                raise DeblurganError(f"{name} is {value:g}, larger than {self.limit:g} (loss_limit)")
            total, steps = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, steps + 1)

    def means(self) -> dict[str, float]:
        """Return the mean of each loss."""
        return {name: total / steps for name, (total, steps) in self.sums.items()}
