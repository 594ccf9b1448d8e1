"""The names in `docs/architecture.md` exist."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = [path.name for path in (ROOT / "deblurgan").iterdir() if (path / "__init__.py").is_file()]
TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(rf"(?<![.\w])(?:{'|'.join(ROOMS)}|deblurrer)\.[\w.]*\w", TEXT)))


@pytest.mark.parametrize("name", NAMES)
def test_what_the_drawings_name_exists(name):
    parts = name.split(".")
    length = 1 if parts[0] == "deblurrer" else 2
    found = import_module(".".join(["deblurgan", *parts[:length]]))
    for part in parts[length:]:
        found = getattr(found, part)


def test_each_room_is_on_a_drawing():
    assert len(NAMES) > 40
    assert {name.split(".")[0] for name in NAMES} >= set(ROOMS) - {"compat", "scoring"}
