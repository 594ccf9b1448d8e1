"""Which pictures there are: in a folder, in a list of paths, or in Parquet files with a column of paths."""

import codecs
import os
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

import pyarrow.dataset

from deblurgan.batch.places import Place, absolute, is_address, storage
from deblurgan.errors import FileError, InputError
from deblurgan.files import shown
from deblurgan.pictures.formats import is_an_image_file
from deblurgan.pictures.listing import files_below
from deblurgan.video.containers import is_a_video_file

COLUMN = "path"
_LISTS = (".txt", ".lst")


def found(
    source: str, output: str, problems: list[str], tell: Callable[[str], object], relative: list[str]
) -> Iterator[tuple[str, str]]:
    """Yield the path or address of each picture, absolute, and its name: with folders, relative, without `..`.

    In a folder these are the pictures in it and in those below it, by their names in it. In a list or a Parquet
    dataset it is what stands there, by its path without a root; what is relative is so to the working folder, or to
    the folder of a list that is elsewhere.

    Args:
        source: a folder; a text file, `.txt` or `.lst`, of a path a line; or a Parquet file, or folder of such files,
            with a column `path`: `.parquet`. On this machine, or the address of one.
        output: where results go, which is not looked into.
        problems: gets a line for each folder that cannot be listed, and each path that cannot stand in a manifest.
        tell: called with a line about what a folder holds besides pictures, or what a list names that lies elsewhere.
        relative: gets the first path, if any, that is relative to the working folder.

    Raises:
        FileError: there is nothing, or it cannot be read.
        InputError: it is none of these.
    """
    place = Place(source)
    suffix = PurePosixPath(source).suffix.lower()
    if suffix == ".parquet":
        paths = _in_parquet(place)
    elif suffix in _LISTS:
        paths = _in_list(place)
    elif not place.is_folder():
        if place.is_local and not os.path.lexists(source):
            raise FileError(
                f"{shown(source)}: expected a folder, a list (.txt) or a manifest (.parquet), found nothing"
            )
        raise InputError(
            f"{shown(source)}: expected a folder, a list (.txt) or a manifest (.parquet) of pictures; single "
            "pictures, videos and zip files are for `deblurgan deblur`"
        )
    else:
        yield from _in_folder(place, output, problems, tell)
        return
    folder = source.rsplit("/", 1)[0]
    base = "" if place.is_local else f"{folder}/"
    count, first = 0, ""
    for path in paths:
        is_whole = is_address(path) or path.startswith("/")
        if not (is_whole or base or relative):
            relative.append(path)
        whole = absolute(path if is_whole else base + path)
        if "/../" in whole or not whole.startswith((f"{folder}/", f"{os.getcwd()}/")):
            count, first = count + 1, first or whole
        yield whole, without_root(path)
    if count:
        where = "elsewhere than in its folder or the present one"
        tell(f"{shown(place.address)} names pictures {where}: {count}, such as {shown(first)}")


def without_root(path: str) -> str:
    """Return a path, or an address, as a name below another folder: without a root, and without `..`.

    Examples:
        >>> from deblurgan.batch.listing import without_root
        >>> without_root("/data/../photos/./one.jpg"), without_root("s3://bucket/one.jpg")
        ('data/photos/one.jpg', 'bucket/one.jpg')
    """
    path = path.split("://", 1)[-1] if is_address(path) else path.removeprefix(os.path.splitdrive(path)[0])
    return "/".join(part for part in path.replace(os.sep, "/").split("/") if part not in ("", ".", ".."))


def _in_folder(
    place: Place, output: str, problems: list[str], tell: Callable[[str], object]
) -> Iterator[tuple[str, str]]:
    others: dict[str, int] = {}
    for path, name in (_local if place.is_local else _remote)(place, output, problems):
        if is_an_image_file(name):
            yield path, name
        else:
            suffix = PurePosixPath(name).suffix.lower() or "without extension"
            others[suffix] = others.get(suffix, 0) + 1
    if others:
        kinds = " ".join(sorted(others)[:10]) + (" ..." if len(others) > 10 else "")
        videos = "; videos are for `deblurgan deblur`" if any(is_a_video_file(f"x{kind}") for kind in others) else ""
        tell(f"{place.address}: files of other kinds left out: {sum(others.values())} ({kinds}){videos}")


def _local(place: Place, output: str, problems: list[str]) -> Iterator[tuple[str, str]]:
    hidden = [] if is_address(output) else [os.path.realpath(output)]
    for file in files_below(place.address, but_not_in=hidden, problems=problems):
        yield str(file), file.relative_to(place.address).as_posix()


def _remote(place: Place, output: str, problems: list[str]) -> Iterator[tuple[str, str]]:
    with storage(place.address, "cannot be listed"):
        place.fs.invalidate_cache()
        keys = place.fs.find(place.root)
    own = f"{output.rstrip('/')}/"
    for key in keys:
        address, name = str(place.fs.unstrip_protocol(key)), str(key).removeprefix(f"{place.root}/")
        if not address.startswith(own) and not any(part.startswith(".") for part in name.split("/")):
            yield address, without_root(name)


def _in_list(place: Place) -> Iterator[str]:
    with storage(place.address, "cannot be read"), place.fs.open(place.root, "rb") as file:
        for number, line in enumerate(file):
            if path := os.fsdecode((line if number else line.removeprefix(codecs.BOM_UTF8)).strip(b"\r\n")):
                yield path


def _in_parquet(place: Place) -> Iterator[str]:
    with storage(place.address, "not a readable Parquet file"):
        if not place.fs.exists(place.root):
            raise FileError(f"{shown(place.address)}: expected Parquet, found nothing")
        dataset = pyarrow.dataset.dataset(place.root, filesystem=place.fs, format="parquet")
        if COLUMN not in dataset.schema.names:
            names = ", ".join(dataset.schema.names)
            raise FileError(f"{shown(place.address)}: expected a column {COLUMN}, found {shown(names)}")
        if str(dataset.schema.field(COLUMN).type) not in ("string", "large_string"):
            kind = dataset.schema.field(COLUMN).type
            raise FileError(f"{shown(place.address)}: expected paths as strings in its column {COLUMN}, found {kind}")
        for batch in dataset.to_batches(columns=[COLUMN]):
            if batch.column(0).null_count:
                raise FileError(f"{shown(place.address)}: expected a path in each row, found rows without")
            yield from batch.column(0).to_pylist()
