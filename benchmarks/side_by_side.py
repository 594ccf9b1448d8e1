"""Timing several things in turn, so that a machine whose speed drifts does not favour one of them."""

import statistics
import time
from collections.abc import Callable, Mapping


def time_in_turn(things: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Call everything once unmeasured, then in turn `rounds` times; return the seconds of each call."""
    for thing in things.values():
        thing()
    seconds: dict[str, list[float]] = {name: [] for name in things}
    for _ in range(rounds):
        for name, thing in things.items():
            begin = time.perf_counter()
            thing()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def report(seconds: Mapping[str, list[float]], baseline: str) -> None:
    """Print each thing's median seconds and the median, round by round, of the baseline's time over its own."""
    width = max(map(len, seconds))
    for name, own in seconds.items():
        speedup = statistics.median(b / a for a, b in zip(own, seconds[baseline], strict=True))
        print(f"{name:{width}}  {statistics.median(own):8.3f} s   {speedup:5.2f}x the speed of {baseline}")
