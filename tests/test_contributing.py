"""CONTRIBUTING's table of the rooms has every module of the package, and no other."""

import re
from pathlib import Path

from tests.test_rooms import modules

ROOT = Path(__file__).parents[1]


def in_the_table():
    """The modules that the table names, as `room/module`; a row without a room has those beside the rooms."""
    section = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## Where things are\n")[1].split("\n## ")[0]
    found = []
    for line in section.splitlines():
        if not line.startswith("| ") or line.startswith(("| room ", "| ---")):
            continue
        _, room, names, _ = line.split("|")
        folder = re.match(r" `(\w+/)`", room)
        row = names if folder else room + names
        found += [f"{folder[1] if folder else ''}{name}" for name in re.findall(r"`(\w+)`", row)]
    return found


def test_the_table_of_modules_is_complete():
    expected = [name.replace(".", "/") for name, path in modules().items() if not path.stem.startswith("__")]
    assert sorted(in_the_table()) == sorted(expected)
