"""What the tests of old code share."""

import warnings

import pytest

from deblurgan import compat
from deblurgan.compat import OldKerasWarning


@pytest.fixture
def old_keras():
    """Keras with the old names, without their warnings."""
    compat.install()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldKerasWarning)
        yield
    compat.uninstall()
