"""What the tests of the commands share: how to run them apart from standard error, and what is in a folder."""

import inspect
import os

from click.testing import CliRunner

SEPARATE = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}  # click 8.1


def names(folder):
    return sorted(os.listdir(folder))
