"""What `deblur` leaves with the network of `stand_in.py`, which makes negatives; and how it ends."""

import shutil
import time
import zipfile

import numpy as np

from tests.photographs import names, pixels

FRAMES = 240  # of the video


def ended(child, limit=60):
    """What a child printed, and said besides, and its exit code; there is no traceback."""
    out, err = child.communicate(timeout=limit)
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err
    return out, err, child.returncode


def check_negatives(folder, of, some=False):
    """Assert that nothing but negatives of the pictures, under their names, is there; return how many."""
    there = names(folder) if folder.exists() else []
    assert set(there) <= set(names(of))
    for name in there:
        assert np.array_equal(pixels(folder / name), 255 - pixels(of / name))
    assert some or there == names(of)
    return len(there)


def members(path, tmp_path):
    """What a zip file holds, unpacked into a new folder."""
    folder = tmp_path / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder


def after(child, seconds, number):
    """Send a signal some time after a child has said the first line of what it does."""
    child.stderr.readline()
    time.sleep(seconds)
    child.send_signal(number)
