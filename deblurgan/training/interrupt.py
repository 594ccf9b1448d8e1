"""Ctrl-C while a training run works, and what else asks it to end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def graceful_interrupt(notice: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP within the block into a flag; the second one acts as usual.

    Those that are ignored, as `nohup` has SIGHUP ignored, stay so.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield came.is_set
        return
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    usual = {number: signal.getsignal(number) for number in numbers}
    usual = {number: handler for number, handler in usual.items() if handler != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        came.set()
        restore()
        notice(
            "stopping after this batch or validation; "
            "press Ctrl-C again to stop at once and lose the work since the last save"
        )

    for number in usual:
        signal.signal(number, note)
    try:
        yield came.is_set
    finally:
        restore()
