"""Options from outside, of recipes and of sources: whether a value is of the type that is wanted."""

import math
import re
import types
from typing import Any, get_args, get_origin

from deblurgan.errors import InputError

PREPROCESS = ("crop", "resize")
AUGMENT = {True: 8, False: 1, "all": 8, "mirror": 2, "none": 1}  # the number of ways in which a crop may be turned

WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    dict: "an object",
    types.NoneType: "null",
    dict[str, float]: "a number for each name",
    dict[str, str]: "a word for each name",
    list[dict[str, Any]]: "a list of objects",
    tuple[int, int]: "one or two whole numbers",
    tuple[float, float]: "one or two numbers",
}
"""The types that there are. JSON has no pairs: lists of two, or single numbers, stand for them."""


def checked(name: str, value: Any, wanted: Any) -> Any:
    """Return `value` as the type `wanted` has it: a whole number as a float, a list or a number as a pair.

    Args:
        name: the option, for the message.
        value: as JSON has it.
        wanted: one of `WORDS`, or several as in `int | None`; of what is in an object, `Any` is not looked at.

    Raises:
        InputError: it is of another type, or not finite.
    """
    choices = get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    for choice in choices:
        try:
            return _as(value, choice)
        except TypeError:
            continue
    expected = " or ".join(WORDS.get(choice, WORDS.get(get_origin(choice), str(choice))) for choice in choices)
    raise InputError(f"{name}: expected {expected}, received {value!r}")


def _as(value: Any, wanted: Any) -> Any:
    """Return the value as `wanted`, not a union, has it; raise TypeError where it is something else."""
    kind, inner = get_origin(wanted) or wanted, get_args(wanted)
    if wanted is Any:
        return value
    if kind is tuple:
        ends = value if isinstance(value, list | tuple) else [value, value]
        if len(ends) == 2:
            return tuple(_as(end, inner[0]) for end in ends)
    elif kind is float:
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
    elif type(value) is kind:
        if kind is list:
            return [_as(entry, inner[0]) for entry in value]
        if kind is dict and inner:
            return {key: _as(entry, inner[1]) for key, entry in value.items()}
        return value
    raise TypeError


def from_text(text: str) -> Any:
    """Return what a text on the command line stands for: a number, 7-15, yes, no, none, or else a word."""
    if text in ("yes", "no", "none"):
        return {"yes": True, "no": False, "none": None}[text]
    if ends := re.fullmatch(r"([\d.]+)-([\d.]+)", text):
        return [from_text(end) for end in ends.groups()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
