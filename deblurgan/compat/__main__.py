"""`python -m deblurgan.compat SCRIPT [ARGUMENTS]`: run a script that was written for Keras 1 or 2."""

import functools
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from deblurgan import compat
from deblurgan.devices import start_quietly
from deblurgan.errors import DeblurganError
from deblurgan.files import reason, shown

_USAGE = "usage: python -m deblurgan.compat SCRIPT [ARGUMENTS]\n\nRun a script that was written for Keras 1 or 2.\n"


def main() -> None:
    """Run the script as `python SCRIPT ARGUMENTS` would, on a Keras that understands it."""
    if sys.argv[1:] in (["-h"], ["--help"]):
        sys.stdout.write(_USAGE)
        return
    if len(sys.argv) < 2:
        sys.stderr.write(_USAGE)
        sys.exit(2)
    sys.argv = sys.argv[1:]
    script = os.path.abspath(sys.argv[0])
    try:
        source = Path(script).read_bytes()
    except OSError as error:
        sys.stderr.write(f"python -m deblurgan.compat: cannot open {shown(script)}: {reason(error)}\n")
        sys.exit(2)
    if getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, "")
    sys.path[0] = os.path.dirname(script)
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        os.environ.setdefault("MPLBACKEND", "module://deblurgan.compat.figures")  # before Keras imports matplotlib
    warnings.formatwarning = functools.partial(_format_warning, warnings.formatwarning)
    try:
        start_quietly()
    except DeblurganError as error:
        sys.stderr.write(f"python -m deblurgan.compat: {error}\n")
        sys.exit(2)
    compat.install()

    sys.excepthook = functools.partial(_show_error, script)
    code = compile(source, script, "exec", dont_inherit=True)
    module = ModuleType("__main__")
    module.__file__ = script
    sys.modules["__main__"] = module
    exec(code, vars(module))


def _format_warning(usual: Any, message: Any, category: type[Warning], filename: str, lineno: int, *rest: Any) -> str:
    """Put an old name into one line."""
    if issubclass(category, compat.OldKerasWarning):
        return f"{filename}:{lineno}: {message}\n"
    return usual(message, category, filename, lineno, *rest)


def _show_error(script: str, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show the traceback from the script on, without what called it."""
    while trace and trace.tb_frame.f_code.co_filename != script:
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


if __name__ == "__main__":
    main()
