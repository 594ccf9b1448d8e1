"""Two pictures side by side in one file, as pix2pix's data sets have them: made of two folders, and parted again."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from deblurgan.data.pairs import by_name, pair_up
from deblurgan.data.synthetic import EXTENSIONS, SIDES
from deblurgan.errors import FileError, InputError, prefixed
from deblurgan.files import atomic_path, ensure_folder, shown
from deblurgan.jobs.report import Report
from deblurgan.jobs.synthesizing import refuse_output_in_input
from deblurgan.pictures.formats import format_to_write
from deblurgan.pictures.metadata import Metadata
from deblurgan.pictures.pixels import halves, side_by_side
from deblurgan.pictures.reading import Picture, read_picture
from deblurgan.pictures.writing import encode_picture

Tell = Callable[[int, int, Path], None]


def combine(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    extension: str = ".png",
    overwrite: bool = False,
    progress: Tell = lambda done, total, picture: None,
) -> Report:
    """Write each picture of one folder, left, and that of the same name in another, right, into one file.

    Two grey pictures make a grey one, two of 16 bits one of 16 bits (in PNG), two of one colour profile one that has
    it. What cannot be read, has no partner, or
    differs in size from it is reported, and the others are still done.

    Args:
        first: has the left halves.
        second: has the right halves.
        output_dir: created where missing.
        extension: of the files to write, one of `EXTENSIONS`. PNG keeps the pixels as they are.
        overwrite: replace files that are there; otherwise they are left as they are.
        progress: called after each pair with: pairs done, pairs in all, the left picture.

    Raises:
        InputError: another extension, no pairs, two pictures of one name in a folder, or the output would lie among
            the input.
        FileError: a folder is missing, or cannot be written to.
    """
    first, second, output_dir = Path(first), Path(second), Path(output_dir)
    for folder in (first, second):
        refuse_output_in_input(folder, output_dir, recursive=False)
    pairs, alone = pair_up(first, second)
    if not pairs:
        raise InputError(f"{shown(first)}, {shown(second)}: expected pictures with the same names, found none")
    partners = {pair.blurred: pair.sharp for pair in pairs}

    def both(path: Path) -> list[Picture]:
        left, right = read_picture(path), read_picture(partners[path])
        if (left.rgb.shape, left.rgb.dtype) != (right.rgb.shape, right.rgb.dtype):
            raise InputError(f"{shown(path)} and {shown(partners[path])} differ: {_kind(left)} and {_kind(right)}")
        if left.alpha is not None or right.alpha is not None:
            report.notices.append(f"{shown(path)}: alpha is left out")
        grey = left.kind[0] == right.kind[0] == "L"
        profile = left.metadata.icc_profile
        if profile != right.metadata.icc_profile:
            report.notices.append(f"{shown(path)} and {shown(partners[path])} have other colour profiles: left out")
            profile = None
        both = side_by_side([left.rgb, right.rgb])
        return [Picture(both, kind="L" if grey else "RGB", metadata=Metadata(icc_profile=profile))]

    report = Report(failed=[f"{shown(path)}: expected a partner of the same name, found none" for path in alone])
    targets = {pair.blurred: [output_dir / (pair.name + extension)] for pair in pairs}
    _write(targets, both, report, extension, overwrite, progress)
    return report


def split(
    input_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    input: str = SIDES[0],
    extension: str = ".png",
    overwrite: bool = False,
    progress: Tell = lambda done, total, picture: None,
) -> Report:
    """Write the halves of each picture in `input_dir` into `output_dir`/A and `output_dir`/B.

    What cannot be read, or has an odd width, is reported, and the others are still done. Otherwise as `combine`.

    Args:
        input_dir: has files of two pictures side by side.
        output_dir: created where missing.
        input: the half that goes into A, where pairs have the picture to restore: "left" or "right".
        extension: of the files to write.
        overwrite: replace files that are there.
        progress: as `combine`.

    Raises:
        InputError, FileError: as `combine`.
    """
    input_dir, output_dir = Path(input_dir), Path(output_dir)
    if input not in SIDES:
        raise InputError(f"input: expected {' or '.join(SIDES)}, received {input!r}")
    refuse_output_in_input(input_dir, output_dir, recursive=False)
    pictures = by_name(input_dir)
    if not pictures:
        raise InputError(f"{shown(input_dir)}: expected pictures with two halves, found none")

    def parted(path: Path) -> list[Picture]:
        picture = read_picture(path)
        with prefixed(shown(path), InputError):
            left, right = map(np.ascontiguousarray, halves(picture.rgb))
        if picture.alpha is not None:
            report.notices.append(f"{shown(path)}: alpha is left out")
        sides = (left, right) if input == SIDES[0] else (right, left)
        profile = Metadata(icc_profile=picture.metadata.icc_profile)
        return [Picture(side, kind=picture.kind.rstrip("A"), metadata=profile) for side in sides]

    report = Report()
    targets = {path: [output_dir / side / (name + extension) for side in "AB"] for name, path in pictures.items()}
    _write(targets, parted, report, extension, overwrite, progress)
    return report


def _write(
    targets: Mapping[Path, Sequence[Path]],
    make: Callable[[Path], Sequence[Picture]],
    report: Report,
    extension: str,
    overwrite: bool,
    progress: Tell,
) -> None:
    """Write what is made of each picture into its files, and note in the report what became of it."""
    if extension not in EXTENSIONS:
        raise InputError(f"extension: expected one of {' '.join(EXTENSIONS)}, received {extension!r}")
    for folder in {target.parent for files in targets.values() for target in files}:
        ensure_folder(folder)
    for done, (path, files) in enumerate(targets.items(), 1):
        wanted = [overwrite or not os.path.exists(file) for file in files]
        report.skipped += [file for file, is_wanted in zip(files, wanted, strict=True) if not is_wanted]
        try:
            made = make(path) if any(wanted) else []
            for file, picture, is_wanted in zip(files, made, wanted, strict=bool(made)):
                if is_wanted:
                    content = encode_picture(picture, picture.rgb, format_to_write(file))
                    with atomic_path(file) as temporary:
                        temporary.write_bytes(content)
                    report.written.append(file)
        except (FileError, InputError) as error:
            report.failed.append(str(error))
        progress(done, len(targets), path)


def _kind(picture: Picture) -> str:
    height, width = picture.rgb.shape[:2]
    return f"{width}x{height} of {8 * picture.rgb.itemsize} bits"
