"""Networks as pictures: a box for each layer with its class, name and shape, and lines for what goes where."""

from typing import Any

import keras
from PIL import Image, ImageDraw, ImageFont

BOX, STEP, LANE, EDGE = (560, 24), 36, 10, 20  # pixels
COLOURS = {"Conv2D": "#cfe2f3", "Conv2DTranspose": "#d9ead3", "Dense": "#cfe2f3", "InputLayer": "#f3f3f3"}


def draw(model: keras.Model) -> Image.Image:
    """Return a picture of `model`: its layers from top to bottom in the order in which they compute.

    A line at the right goes from a layer to each one that takes its result and is not the next.
    """
    operations = list(model.operations)
    places = {id(output): i for i, layer in enumerate(operations) for output in keras.tree.flatten(layer.output)}
    lines = {
        (places[id(x)], i)
        for i, layer in enumerate(operations)
        if not isinstance(layer, keras.layers.InputLayer)
        for x in keras.tree.flatten(layer.input)
    }
    skips = sorted((start, end) for start, end in lines if end - start > 1)
    lanes = _lanes(skips)
    width = 2 * EDGE + BOX[0] + LANE * (max(lanes, default=0) + 2)
    picture = Image.new("RGB", (width, 2 * EDGE + STEP * len(operations)), "white")
    canvas, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    right = EDGE + BOX[0]
    for i, layer in enumerate(operations):
        top = EDGE + STEP * i
        kind = type(layer).__name__
        canvas.rectangle((EDGE, top, right, top + BOX[1]), COLOURS.get(kind, "#ffffff"), "black")
        canvas.text((EDGE + 6, top + 4), f"{kind}  {layer.name}", "black", font)
        shape = _shape(layer)
        canvas.text((right - 6 - canvas.textlength(shape, font), top + 4), shape, "black", font)
        if (i - 1, i) in lines:
            canvas.line((EDGE + 60, top - STEP + BOX[1], EDGE + 60, top), "black")
    for (start, end), lane in zip(skips, lanes, strict=True):
        x = right + LANE * (lane + 1)
        first, last = (EDGE + STEP * place + BOX[1] // 2 for place in (start, end))
        canvas.line([(right, first), (x, first), (x, last), (right, last)], "#cc0000")
        canvas.polygon([(right, last), (right + 6, last - 3), (right + 6, last + 3)], "#cc0000")
    return picture


def _lanes(skips: list[tuple[int, int]]) -> list[int]:
    """Return for each line how far to the right it goes: past all that it spans."""
    lanes: dict[tuple[int, int], int] = {}
    for start, end in sorted(skips, key=lambda skip: skip[1] - skip[0]):
        inside = [lane for (first, last), lane in lanes.items() if first <= end and start <= last]
        lanes[start, end] = max(inside, default=-1) + 1
    return [lanes[skip] for skip in skips]


def _shape(layer: Any) -> str:
    shapes = [output.shape[1:] for output in keras.tree.flatten(layer.output)]
    return ", ".join("x".join("?" if side is None else str(side) for side in shape) for shape in shapes)
