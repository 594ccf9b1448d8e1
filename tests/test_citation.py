"""What a release has in more than one place is the same there."""

import re
from pathlib import Path

from deblurgan import __version__

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_version():
    assert re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE) == [__version__]


def test_the_citation_has_the_licences_of_the_package():
    (expression,) = re.findall(r'^license = "(.*?)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    section = (ROOT / "CITATION.cff").read_text("utf-8").split("\nlicense:\n")[1].split("\nkeywords:")[0]
    assert re.findall("  - (.*)", section) == expression.split(" AND ")
