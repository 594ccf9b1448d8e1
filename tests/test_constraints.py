"""The versions that CI pins fit what the package asks for, and are all that it asks for."""

import importlib.metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PINS = Path(__file__).parents[1] / ".ci" / "constraints.txt"
INSTALLED = ("", "dev", "docs", "browser", "torch")


def test_each_requirement_has_a_pinned_version_that_fits():
    lines = [line for line in PINS.read_text("utf-8").splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    wanted = [Requirement(text) for text in importlib.metadata.requires("deblurgan")]
    wanted = [
        each for each in wanted if not each.marker or any(each.marker.evaluate({"extra": e}) for e in INSTALLED)
    ]
    assert len(wanted) > 30
    misses = [
        str(each) for each in wanted if not each.specifier.contains(pins.get(canonicalize_name(each.name), "0"))
    ]
    assert misses == []
