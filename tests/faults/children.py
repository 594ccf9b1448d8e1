"""The program as a child process: started with a tiny network, and how much memory it holds meanwhile."""

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = os.sysconf("SC_PAGE_SIZE")


def environment(**more):
    """The environment in which a child finds the package, with more in it."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **more}


def started(*arguments, program=("deblurgan",), **options):
    """Start `deblurgan` with these arguments; it tells by `Popen.communicate` what it said."""
    variables = environment(**options.pop("env", {}))
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": _heeding, **options}
    command = [sys.executable, "-m", *map(str, [*program, *arguments])]
    return subprocess.Popen(command, env=variables, **options)


def restored_by(weights, *arguments, **options):
    """Run `deblurgan deblur` with these weights to its good end; return what it printed."""
    child = started("deblur", "--weight_path", weights, *arguments, **options)
    out, err = child.communicate()
    assert child.returncode == 0, err
    return out


def _heeding():
    """Heed the signals that a background job, or `nohup`, is started to ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def stand_in(pause, *arguments, **options):
    """As `started`, with the network of `stand_in.py`, which takes so many seconds for a picture."""
    return started(*arguments, program=("tests.faults.stand_in", pause), **options)


def resident(pid):
    """The resident memory of a process in bytes; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


class Memory(threading.Thread):
    """Looks several times a second how much a process holds; beside each look, how far its work is."""

    def __init__(self, pid, done=time.monotonic, pause=0.05):
        super().__init__(daemon=True)
        self.looks, self._pid, self._done, self._pause = [], pid, done, pause
        self.start()

    def run(self):
        """Look until the process has ended."""
        while held := resident(self._pid):
            self.looks.append((self._done(), held))
            time.sleep(self._pause)

    def growth(self, start, end):
        """How much more is held in the last tenth of the work than in the second, as medians; and both in MB."""
        tenth = (end - start) / 10
        second = statistics.median(held for done, held in self.looks if tenth <= done - start <= 2 * tenth)
        last = statistics.median(held for done, held in self.looks if end - tenth <= done <= end)
        return last / second - 1, f"{second / 1e6:.0f} MB after the first tenth, {last / 1e6:.0f} MB at the end"
