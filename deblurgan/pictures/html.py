"""Pictures inside HTML, which needs no other file then."""

import base64
import io

from PIL import Image

from deblurgan.pictures.pixels import Pixels, to_8_bits

_SLIDER = """<figure style="margin:0 0 2rem;width:fit-content">
<div style="position:relative;width:fit-content">
<img alt="before" style="display:block;max-width:100%" src="{before}">
<img alt="after" style="position:absolute;inset:0;width:100%;height:100%;clip-path:inset(0 0 0 50%)" src="{after}">
</div>
<input type="range" min="0" max="100" value="50" step="0.1" style="display:block;width:100%;margin:0.5rem 0 0"
 aria-label="Where before ends and after begins"
 oninput="this.previousElementSibling.lastElementChild.style.clipPath = `inset(0 0 0 ${{this.value}}%)`">
</figure>
"""


def data_uri(image: Pixels, side: int, *, lossless: bool = False) -> tuple[str, tuple[int, int]]:
    """Return a picture (height, width, 3), uint8 or uint16, as a data URI, and its width and height there.

    Its longer side is made `side` pixels long at most. It is PNG where `lossless`, else JPEG.
    """
    small = Image.fromarray(to_8_bits(image))
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    content, kind = io.BytesIO(), "png" if lossless else "jpeg"
    small.save(content, kind, **({} if lossless else {"quality": 92, "subsampling": 0}))
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}", small.size


def slider(before: Pixels, after: Pixels, side: int, *, lossless: bool = False) -> str:
    """Return two pictures, one over the other, and what moves the line where one ends and the other begins.

    Arguments as for `data_uri`.
    """
    uris = [data_uri(image, side, lossless=lossless)[0] for image in (before, after)]
    return _SLIDER.format(before=uris[0], after=uris[1])
