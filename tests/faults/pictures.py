"""Mutated pictures of every format, restored by the code of `deblurgan deblur` beside a sound one."""

import functools
import io
import os
import random
import re
import zipfile

import av
import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from deblurgan.errors import DeblurganError
from deblurgan.jobs.finding import find_inputs
from deblurgan.jobs.planning import Where, plan
from deblurgan.jobs.running import PictureOptions, restore_jobs
from deblurgan.pictures import jxl
from deblurgan.pictures.metadata import Metadata
from deblurgan.pictures.npy import read_channels
from deblurgan.pictures.reading import Picture, read_picture
from deblurgan.pictures.writing import encode_picture
from deblurgan.video.containers import CONTAINERS, is_a_video_file
from tests.faults.mutating import mutated
from tests.pictures.test_other_formats import write_dng

MAX_PIXELS = 2**20
SOUND = "sound.of.all.png"
SIZE = (18, 24)


def prepare(samples):
    """Register what reads and writes other formats before anything is measured."""
    pillow_heif.register_heif_opener()
    jxl.register()
    Image.init()


def write_samples(folder):
    """Write a small picture in each format and kind."""
    prepare(folder)
    array = np.random.default_rng(0).integers(0, 256, (*SIZE, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Maker"
    xmp = b'<x tiff:Orientation="6"/>'
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    text.add_text("Comment", "words " * 300, zip=True)
    rgba = Image.fromarray(array)
    rgb = rgba.convert("RGB")

    def add(name, content):
        (folder / f"{len(os.listdir(folder)):02}{name}").write_bytes(content)

    def save(name, image, **options):
        content = io.BytesIO()
        image.save(content, **options)
        add(name, content.getvalue())

    for name, file_format in (
        (".avif", "AVIF"), (".bmp", "BMP"), (".dds", "DDS"), (".gif", "GIF"), (".ico", "ICO"), (".jp2", "JPEG2000"),
        (".pcx", "PCX"), (".ppm", "PPM"), (".qoi", "QOI"), (".sgi", "SGI"), (".tga", "TGA"),
    ):  # fmt: skip
        save(name, rgb, format=file_format)
    for image in (rgb, rgba):
        save(".png", image, format="PNG", exif=exif, pnginfo=text, icc_profile=b"profile" * 30, dpi=(300, 300))
        save(".webp", image, format="WEBP", exif=exif, xmp=xmp, lossless=True)
        save(".tif", image, format="TIFF", exif=exif)
        save(".tif", image, format="TIFF", compression="tiff_lzw")
        save(".jxl", image, format="JXL", exif=exif.tobytes(), xmp=xmp)
        save(".heic", image, format="HEIF", exif=exif, xmp=xmp)
        save(".avif", image, format="AVIF", exif=exif, xmp=xmp)
    save(".png", rgb.convert("P"), format="PNG")
    save(".tif", rgb.convert("1"), format="TIFF", compression="group4")
    save(".jpg", rgb, format="JPEG", exif=exif, xmp=xmp, icc_profile=b"profile", quality=90)
    save(".jpg", rgb, format="JPEG", progressive=True)
    save(".mpo", rgb, format="MPO", save_all=True, append_images=[rgb])
    save(".jpg", rgb.convert("CMYK"), format="JPEG")
    for compression in (None, "jpeg", "tiff_adobe_deflate"):
        save(".tif", rgb.convert("CMYK"), format="TIFF", compression=compression)
    save(".png", rgb.convert("LA"), format="PNG")
    save(".j2k", rgb, format="JPEG2000", no_jp2=True)
    save(".webp", rgb, format="WEBP", save_all=True, append_images=[rgb.rotate(90)])
    save(".png", rgb, format="PNG", save_all=True, append_images=[rgb.rotate(90)])
    save(".gif", rgb, format="GIF", save_all=True, append_images=[rgb.rotate(90)])
    add(".psd", psd(array[:, :, :3]))
    deep = array[:, :, :3].astype(np.uint16) * 251
    metadata = Metadata(exif=exif.tobytes(), xmp=xmp, dpi=(72, 72))
    for kind, alpha in (("RGB", None), ("RGBA", deep[:, :, 0]), ("L", None), ("LA", deep[:, :, 0])):
        picture = Picture(deep, alpha, kind, metadata=metadata)
        for name, file_format in ((".png", "PNG"), (".tif", "TIFF"), (".jxl", "JXL"), (".heic", "HEIF")):
            add(name, encode_picture(picture, deep, file_format))
    add(".avif", imagecodecs.avif_encode(deep >> 6, bitspersample=10))
    add(".heic", encode_picture(Picture(deep, bits=12), deep, "HEIF"))
    floats = (array[:, :, :3] / 255).astype(np.float32)
    for values, options in (
        (floats, {}),
        (floats, {"compression": "zlib", "predictor": True}),
        (floats.astype(np.float16), {"bigtiff": True}),
        (array[:, :, :3].astype(np.uint32) << 24, {}),
        (np.moveaxis(deep, 2, 0).copy(), {"photometric": "rgb", "planarconfig": "separate"}),
        (deep, {"photometric": "cielab", "compression": "lzw"}),
        (array[:, :, :3], {"photometric": "cielab", "tile": (16, 16)}),
    ):
        tifffile.imwrite(folder / f"{len(os.listdir(folder)):02}.tif", values, **{"photometric": "rgb", **options})
    write_dng(folder / f"{len(os.listdir(folder)):02}.dng", np.repeat(np.repeat(deep, 2, 0), 2, 1), orientation=6)
    content = io.BytesIO()
    np.save(content, array[:, :, :3])
    add(".npy", content.getvalue())
    files = sorted(os.listdir(folder))
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", compression) as archive:
            archive.write(folder / files[1], "sub/a.bmp")
            archive.write(next(folder.glob("*.png")), "b.png")
        add(".zip", content.getvalue())
    save(SOUND, rgb, format="PNG")


def psd(array):
    """A PSD file of one plane after another, uncompressed."""
    height, width, channels = array.shape
    head = b"8BPS\0\1" + bytes(6) + channels.to_bytes(2, "big")
    head += height.to_bytes(4, "big") + width.to_bytes(4, "big") + b"\0\x08\0\3"
    return head + bytes(12) + b"\0\0" + np.moveaxis(array, 2, 0).tobytes()


@functools.cache
def contents(samples):
    """Name and content of each sample, and the content of the sound picture."""
    found = [(path.name, path.read_bytes()) for path in sorted(samples.iterdir())]
    (sound,) = (content for name, content in found if name.endswith(SOUND))
    return [one for one in found if not one[0].endswith(SOUND)], sound


def attempt(number, samples, folder):
    files, sound = contents(samples)
    name, content = files[number % len(files)]
    chance = random.Random(number)
    content = chance.randbytes(chance.randrange(200)) if chance.random() < 0.02 else mutated(content, chance)
    damaged, other, out = folder / f"damaged{name[2:]}", folder / SOUND, folder / "out"
    damaged.write_bytes(content)
    other.write_bytes(sound)
    if damaged.suffix == ".npy":
        return read_array(damaged)
    return restored(damaged, other, out)


def read_array(path):
    try:
        array = read_channels(path)
    except DeblurganError as error:
        assert_line(error)
        return "refused"
    assert array.dtype == np.uint8
    assert array.ndim == 3
    return "restored"


def restored(damaged, other, out, max_pixels=MAX_PIXELS):
    """Restore a damaged file, in whichever way it ends, and one that is sound, in any case."""
    where = Where(out)
    try:
        sources, problems = find_inputs([damaged, other])
        jobs = plan(sources, where)
        report = restore_jobs(lambda image: image, jobs, where, PictureOptions(max_pixels=max_pixels))
    except DeblurganError as error:  # of an archive that holds two pictures of one name
        assert_line(error)
        assert not out.exists()
        return "refused"
    for line in problems + report.failed:
        assert_line(line)
    assert len(report.written) + len(report.failed) == len(jobs)
    there = sorted(path for path in out.rglob("*") if path.is_file() and path.parent.suffix != ".parts")
    assert sorted(report.written) == there, f"{report.written} written, {there} there"
    assert out / SOUND in there
    for path in there:
        look(path)
    return "restored" if len(there) > 1 else "refused"


def look(path):
    """Fail unless a picture or video is whole."""
    if is_a_video_file(path):
        form = "mpegts" if CONTAINERS[path.suffix] == "mpegts" else None  # which is not told of very short ones
        with av.open(str(path), format=form) as file:
            assert sum(1 for _ in file.decode(video=0)) > 0
    else:
        shape = read_picture(path).rgb.shape
        assert shape == (*SIZE, 3) or path.name != SOUND


def assert_line(line):
    assert str(line)
    assert "\n" not in str(line)
    assert not re.search("MemoryError|[Uu]nable to allocate", str(line)), line  # so much has been asked for
