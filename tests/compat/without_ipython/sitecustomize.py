"""Run by Python as it starts, where this folder is in PYTHONPATH: there is no IPython, even where it is installed."""

from importlib.machinery import PathFinder

_found = PathFinder.find_spec


def _find_spec(name, *rest):
    return None if name.partition(".")[0] == "IPython" else _found(name, *rest)


PathFinder.find_spec = _find_spec
