"""What the tests of old code share."""

import runpy
import sys
import warnings
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from deblurgan import compat
from deblurgan.compat import OldKerasWarning

WITHOUT_IPYTHON = Path(__file__).parent / "without_ipython"


@pytest.fixture(autouse=True)
def _without_ipython(monkeypatch):
    """The stand-ins for IPython are tested where it is installed, too."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "IPython"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(PathFinder, "find_spec", PathFinder.find_spec)
    runpy.run_path(str(WITHOUT_IPYTHON / "sitecustomize.py"))


@pytest.fixture
def old_keras():
    """Keras with the old names, without their warnings."""
    compat.install()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldKerasWarning)
        yield
    compat.uninstall()
