"""What the tests of the commands share: how to run them apart from standard error, and what they say there."""

import inspect

from click.testing import CliRunner

SEPARATE = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}  # click 8.1


def told(result):
    """What a command says on standard error, but for the weights and the device."""
    return [line for line in result.stderr.splitlines() if not line.startswith(("Weights: ", "Device: "))]
