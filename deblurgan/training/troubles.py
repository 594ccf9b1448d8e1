"""What goes wrong when a generator and a critic train against each other, seen in a run's history, in plain words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLLAPSED = 0.6  # of the diversity of real pictures
WON = 0.97  # of real and of generated pictures that the critic tells apart
LOST = 3.0  # the generator's cross-entropy when a critic is so sure: it takes samples for real with 5 %
WINDOW = 8  # epochs that are looked at
SWING = 0.3  # mean change from epoch to epoch, relative to the loss
RISE = 1.1  # of the generator's loss, while pictures get better


def troubles(history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what is wrong after the last epoch, in one line each, by a short name.

    Args:
        history: the rows of a run of the step "generation".
    """
    rows = [row for row in history if row.get("g_loss") is not None]
    if len(rows) < 3:
        return {}
    now, found = rows[-1], {}
    if max(row["val_diversity"] for row in rows[-3:]) < COLLAPSED:
        found["collapse"] = (
            f"mode collapse: samples differ only {now['val_diversity']:.0%} as much from each other as real pictures "
            "do; the generator has found few that pass. A lower learning rate or --kind wgan-gp helps"
        )
    if "d_acc_real" in now:
        told = min(min(row["d_acc_real"], row["d_acc_fake"]) for row in rows[-3:])
        if told > WON and min(row["g_loss"] for row in rows[-3:]) > LOST:
            found["won"] = (
                f"the discriminator has won: it tells {told:.0%} of real and generated pictures apart, and the "
                "generator learns next to nothing from it. A lower critic_learning_rate helps, or more of its dropout"
            )
    window = rows[-WINDOW:]
    swinging = [name for name in ("d_loss", "g_loss") if _swings([row[name] for row in window])]
    if swinging:
        found["swing"] = (
            f"{' and '.join(swinging)} swing{'s' if len(swinging) == 1 else ''} widely from epoch to epoch, instead "
            "of settling. Lower learning rates, or --kind wgan-gp, help"
        )
    first = window[0]
    if now["g_loss"] > RISE * first["g_loss"] > 0 and now["val_distance"] < first["val_distance"]:
        found["uninformative"] = (
            f"g_loss rose from {first['g_loss']:.2f} to {now['g_loss']:.2f} while samples came nearer to real "
            f"pictures (val_distance {first['val_distance']:.3f} to {now['val_distance']:.3f}): it is measured by a "
            "critic that learns as well, and says nothing about the pictures. Go by val_distance and the samples"
        )
    return found


def _swings(losses: Sequence[float]) -> bool:
    """Whether a loss turns back at most epochs, and by a good part of its size."""
    changes = np.diff(losses)
    turns = np.count_nonzero(changes[1:] * changes[:-1] < 0)
    is_wide = np.abs(changes).mean() > SWING * np.abs(losses).mean()
    return bool(len(losses) == WINDOW and turns >= WINDOW - 4 and is_wide)
