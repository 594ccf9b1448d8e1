"""A generator's weight file, and how many of its stages a quality takes."""

import os
from collections.abc import Mapping
from typing import Any

from deblurgan.errors import InputError, WeightsError
from deblurgan.files import shown
from deblurgan.weights import catalogue
from deblurgan.weights.any_file import WeightFile, read
from deblurgan.weights.qualities import QUALITIES, default_quality


def open_generator(
    path: str | os.PathLike[str], quality: str | None, assumed: Mapping[str, Any]
) -> tuple[WeightFile, dict[str, Any]]:
    """Look into a generator's weight file, and turn a `quality` into an assumption: how many stages it takes.

    No stage is read that is not used, where each has a file of its own.

    Raises:
        FileError, WeightsError: as `generator_file`.
        InputError: a quality that does not exist, that the network does not have, or beside a number of stages.
    """
    if quality is not None and quality not in QUALITIES:
        raise InputError(f"quality: expected one of {', '.join(QUALITIES)}, received {quality!r}")
    if quality is not None and "stages" in assumed:
        raise InputError(f"quality: expected it or stages, received both ({quality!r} and {assumed['stages']!r})")
    wanted = assumed.get("stages", QUALITIES[quality or default_quality()])
    content = generator_file(path, stages=wanted if type(wanted) is int else None)
    there = content.assumed.get("stages")
    if there is None or "stages" in assumed:
        if quality is not None:
            raise InputError(
                f"quality: expected the weights of a network with stages, such as {catalogue.DEFAULT}; "
                f"{shown(path)} holds those of a {content.network}"
            )
        return content, dict(assumed)
    if quality is not None and wanted > there:
        raise InputError(f"quality: {quality!r} takes {wanted} stages, found {there} in {shown(path)}")
    return content, {**assumed, "stages": min(wanted, there)}


def generator_file(path: str | os.PathLike[str], *, stages: int | None = None) -> WeightFile:
    """Look into a weight file as `any_file.read` does; raise WeightsError where it holds no generator."""
    content = read(path, stages=stages)
    if not content.is_generator:
        raise WeightsError(f"{shown(path)}: expected a generator's weights, found those of a {content.network}")
    return content
