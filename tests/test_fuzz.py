"""Valid files, mutated in every way that hypothesis comes up with: none ends the program, each gives one line."""

import functools
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from deblurgan.errors import DeblurganError
from deblurgan.jobs.finding import find_inputs
from deblurgan.jobs.planning import Where, plan
from deblurgan.jobs.running import PictureOptions, restore_jobs
from deblurgan.pictures.metadata import Metadata
from deblurgan.pictures.reading import Picture, read_picture
from deblurgan.pictures.writing import encode_picture

MAX_PIXELS = 10000  # so that a mutated header does not fill the memory


@functools.cache
def valid_files():
    """The content of a small picture in each format and kind."""
    array = np.random.default_rng(0).integers(0, 256, (12, 17, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Maker"
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    rgba = Image.fromarray(array)
    rgb = rgba.convert("RGB")
    files = []

    def add(image, file_format, **options):
        content = io.BytesIO()
        image.save(content, format=file_format, **options)
        files.append(content.getvalue())

    Image.init()
    for file_format in ("AVIF", "BMP", "DDS", "GIF", "ICO", "JPEG2000", "PPM", "SGI"):
        if file_format in Image.SAVE:
            add(rgb, file_format)
    for image in (rgb, rgba):
        add(image, "PNG", exif=exif, pnginfo=text, icc_profile=b"profile", dpi=(300, 300))
        add(image, "WEBP", exif=exif, lossless=True)
        add(image, "TIFF", exif=exif)
        add(image, "TIFF", compression="tiff_lzw")
    add(rgb.convert("P"), "PNG")
    add(rgb.convert("1"), "TIFF", compression="group4")
    add(rgb, "JPEG", exif=exif, icc_profile=b"profile", quality=90)
    add(rgb.convert("CMYK"), "JPEG")
    add(rgb.convert("CMYK"), "TIFF")
    add(rgb.convert("LA"), "PNG")
    add(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)])
    deep = array[:, :, :3].astype(np.uint16) * 251
    metadata = Metadata(exif=exif.tobytes(), xmp=b"<x/>", dpi=(72, 72))
    for kind, alpha in (("RGB", None), ("RGBA", deep[:, :, 0]), ("L", None), ("LA", deep[:, :, 0])):
        for file_format in ("PNG", "TIFF"):
            picture = Picture(deep, alpha, kind, metadata=metadata)
            files.append(encode_picture(picture, deep, file_format))
    return files


@st.composite
def mutated(draw):
    """A valid file with a few bytes changed, left out, put in, repeated, or cut off."""
    content = bytearray(draw(st.sampled_from(valid_files())))
    for _ in range(draw(st.integers(0, 5))):
        where = draw(st.integers(min(16, len(content)), len(content)) | st.integers(0, min(len(content), 600)))
        match draw(st.sampled_from(["change", "change", "change", "remove", "insert", "repeat", "cut", "number"])):
            case "change" if where < len(content):
                content[where] = draw(st.integers(0, 255))
            case "remove":
                del content[where : where + draw(st.integers(1, 40))]
            case "insert":
                content[where:where] = draw(st.binary(min_size=1, max_size=12))
            case "repeat":
                content[where:where] = content[where : where + draw(st.integers(1, 60))]
            case "cut":
                del content[where:]
            case "number":  # the largest and least numbers of 2 and 4 bytes
                size = draw(st.sampled_from([2, 4]))
                content[where : where + size] = draw(st.sampled_from([b"\xff", b"\0", b"\x7f"])) * size
    return bytes(content)


def check(content):
    try:
        picture = read_picture("damaged", content=content, max_pixels=MAX_PIXELS)
    except DeblurganError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
        return
    assert picture.rgb.ndim == 3
    for file_format in ("JPEG", "PNG", "TIFF", "WEBP"):
        try:
            encode_picture(picture, picture.rgb, file_format)
        except DeblurganError as error:
            assert "\n" not in str(error)  # noqa: PT017


def check_zip(folder, content):
    """The same for a zip file."""
    (folder / "a.zip").write_bytes(content)
    try:
        sources, problems = find_inputs([folder / "a.zip"])
        where = Where(folder / "out")
        options = PictureOptions(max_pixels=MAX_PIXELS)
        jobs = plan(sources, where)
        report = restore_jobs(lambda image: image, jobs, where, options)
    except DeblurganError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert len(report.written) + len(report.failed) == len(jobs)
        assert all("\n" not in line for line in problems + report.failed)


few = settings(derandomize=True, deadline=None, max_examples=300, database=None)
many = settings(derandomize=True, deadline=None, max_examples=5000, database=None)
in_one_folder = {"suppress_health_check": [HealthCheck.function_scoped_fixture]}


@few
@given(mutated())
def test_no_mutated_picture_ends_the_program(content):
    check(content)


@pytest.mark.fuzz
@many
@given(mutated())
def test_none_of_many_mutated_pictures_ends_the_program(content):
    check(content)


@functools.cache
def valid_zip():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sub/a.png", valid_files()[-4])
        archive.writestr("b.bmp", valid_files()[1])
    return content.getvalue()


@settings(few, max_examples=100, **in_one_folder)
@given(edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6), end=st.floats(0.5, 1.5))
def test_no_mutated_zip_file_ends_the_program(tmp_path, edits, end):
    content = bytearray(valid_zip())
    for where, value in edits:
        content[int(where * len(content))] = value
    check_zip(tmp_path, bytes(content[: int(end * len(content))]))


@settings(few, max_examples=100)
@given(st.binary(max_size=200), st.sampled_from([".png", ".tga", ".pcx", ".heic", ".jpg", ""]))
def test_no_rubbish_ends_the_program(content, extension):
    try:
        read_picture(Path(f"rubbish{extension}"), content=content, max_pixels=MAX_PIXELS)
    except DeblurganError as error:
        assert "\n" not in str(error)  # noqa: PT017
