import signal

import pytest

from deblurgan.training.interrupt import graceful_interrupt

NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def _signals_end_the_process_by_an_exception():
    before = {number: signal.signal(number, signal.default_int_handler) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_is_noted_and_told_and_the_second_acts_as_usual(number):
    told = []
    with graceful_interrupt(told.append) as interrupted:
        assert not interrupted()
        signal.raise_signal(number)
        assert interrupted()
        assert len(told) == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_what_is_ignored_stays_ignored():
    """As SIGHUP is under `nohup`."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with graceful_interrupt(print) as interrupted:
        signal.raise_signal(signal.SIGTERM)
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
