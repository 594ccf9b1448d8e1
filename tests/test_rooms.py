"""Which room of the package imports which: only ever one that stands below it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "deblurgan"
ROOMS = (  # from the top: folders, and modules beside them
    "__main__",
    "cli",
    "compat",
    "utils",
    "layer_utils",
    "model",
    "losses",
    "web",
    "deblurrer",
    "gan",
    "doctor",
    "training",
    "batch",
    "jobs",
    "restoring",
    "runtimes",
    "scoring",
    "weights",
    "data",
    "video",
    "networks",
    "pictures",
    "devices",
    "untrusted",
    "files",
    "errors",
)
FOR_OTHERS = {"compat", "utils", "layer_utils", "model", "losses"}  # no room needs them
EXCEPTIONS = {}


def modules():
    """The modules of the package by their names below it, `__init__` by its folder's."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(source, known):
    """The modules of the package that a source imports, anywhere in it: also in functions, and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this package"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, _, below = name.partition(".")
            if package == "deblurgan":
                found.add(below if below in known else below.rpartition(".")[0])
    return found


def arrows():
    known = modules()
    return {
        (module, other)
        for module, path in known.items()
        for other in imported(path.read_text("utf-8"), known)
        if other
    }


def room(module):
    return module.split(".")[0]


def test_every_module_is_in_a_room():
    assert {room(module) for module in modules() if module} == set(ROOMS)


def test_no_room_imports_from_one_above_it():
    upwards = {(a, b) for a, b in arrows() if a and ROOMS.index(room(b)) < ROOMS.index(room(a))}
    assert upwards - set(EXCEPTIONS) == set()
    assert set(EXCEPTIONS) - upwards == set(), "an exception that is none any more"


def test_what_is_there_for_others_is_imported_by_none():
    assert {(a, b) for a, b in arrows() if room(b) in FOR_OTHERS and room(a) != room(b)} == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import deblurgan.jobs.finding as f", {"jobs.finding"}),
        ("from deblurgan import __version__, errors", {"", "errors"}),
        ("from deblurgan.jobs import finding, writing", {"jobs.finding", "jobs.writing"}),
        ("from deblurgan.jobs.finding import plan as p", {"jobs.finding"}),
        ("def f():\n    from deblurgan.cli import main", {"cli"}),
        ("if TYPE_CHECKING:\n    import deblurgan.errors, keras", {"errors"}),
        ("import deblurgans.errors", set()),
    ],
)
def test_all_ways_to_import_are_seen(source, expected):
    assert imported(source, {"", "cli", "errors", "jobs", "jobs.finding", "jobs.writing"}) == expected
