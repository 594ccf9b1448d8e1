"""Stands for IPython where it is not installed, of which matplotlib asks this."""

version_info = (0, 0, 0)


def get_ipython() -> None:
    """Say that no notebook is running."""
