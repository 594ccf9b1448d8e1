"""What the tests of the commands share: how to run them apart from standard error, and what they say."""

import inspect
import re

from click.testing import CliRunner

from deblurgan import cli, devices

SEPARATE = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}  # click 8.1


def deblurgan(*arguments, command=cli.main, **options):
    """Run the program in this process and return click's result; any exception but its exit is the test's."""
    options = {"prog_name": "deblurgan", **options}
    result = CliRunner(**SEPARATE).invoke(command, [str(argument) for argument in arguments], **options)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def said(weights, precision="auto"):
    """What the commands say first on standard error: the weights and the device."""
    return f"Weights: {weights}\nDevice: {devices.describe(precision)}\n"


def succeeds(*arguments):
    result = deblurgan(*arguments)
    others = re.sub(rf"^Weights: .*\n{re.escape(said('').splitlines()[1])}\n", "", result.stderr)
    assert (result.exit_code, others) == (0, "")
    return result.stdout


def error_of(result, others=()):
    """The one line `Error: ...` that `result` ends with, without that word; `others` are how other lines begin."""
    *before, last = result.stderr.splitlines()
    assert last.startswith("Error: ")
    assert [line for line in before if not line.startswith(("Weights: ", "Device: ", *others))] == []
    assert result.exit_code != 0
    return last.removeprefix("Error: ")


def told(result):
    """What a command says on standard error, but for the weights and the device."""
    return [line for line in result.stderr.splitlines() if not line.startswith(("Weights: ", "Device: "))]


def parsed(command, arguments):
    """The parameters of `command` for these arguments."""
    return cli.main.commands[command].make_context(command, list(arguments)).params
