"""A backend of matplotlib for machines without a display: `show` saves the figures and closes them."""

import itertools
from typing import Any

from matplotlib._pylab_helpers import Gcf
from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas

__all__ = ["FigureCanvas", "show"]

_numbers = itertools.count(1)


def show(*, block: Any = None) -> None:
    """Save what would be shown as `figure_1.png` and so on in the working folder."""
    for manager in Gcf.get_all_fig_managers():
        manager.canvas.figure.savefig(f"figure_{next(_numbers)}.png")
    Gcf.destroy_all()
