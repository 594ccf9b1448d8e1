"""Changing attributes of modules and classes so that it can be undone."""

from typing import Any

_ABSENT = object()


class Patches:
    """Attributes that were set, and what stood there before."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set the attribute `name` of a module or class."""
        self._before.append((owner, name, vars(owner).get(name, _ABSENT)))
        setattr(owner, name, value)

    def undo(self) -> None:
        """Put everything back as it was."""
        for owner, name, value in reversed(self._before):
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
        self._before.clear()


def defining(cls: type, name: str) -> type:
    """Return the class, `cls` or one of its bases, whose body defines the method `name`."""
    return next(base for base in cls.__mro__ if name in vars(base))
