"""Weights that have a name: what is known of each, where it comes from, where it lies, and how it gets there.

`maxim-gopro` is a folder of the package. The others are downloaded into `cache_folder` when they are first asked for,
or put there by hand. A file is used only if its SHA-256 is the one that is expected: the published one, or else the
one that was noted, in a JSON file beside it, when it came.
"""

import json
import logging
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from tqdm import TqdmWarning, tqdm

from deblurgan.errors import FileError, InputError, nearest
from deblurgan.files import atomic_path, check_no_address, ensure_folder, reason, shown, weights_of_run

DEFAULT = "maxim-gopro"
VARIABLE = "DEBLURGAN_CACHE"  # of the environment: a folder in place of the platform's
SHIPPED, CACHED, ABSENT = "shipped", "cached", "to be downloaded"
CLOSE = 0.7  # of `errors.nearest`: names of files are not to be taken for names of weights
TIMEOUT = 30  # seconds in which a server must answer, and send the next bytes
CHUNK = 65536  # bytes
SHA256 = re.compile("[0-9a-f]{64}")

Say = Callable[[str], object]  # takes one line that the user should see


@dataclass(frozen=True)
class Entry:
    """Weights that have a name.

    Attributes:
        name: the name.
        kind: the network in words.
        data: what it was trained on; "unknown" where its authors do not tell.
        licence: that of its authors' repository; "none stated" where that has none.
        page: where its authors tell of it.
        file: what it is called here: a file in `cache_folder`, or a folder in the package.
        psnr: mean PSNR in dB as its authors published it, None where they did not.
        test_set: the pictures that `psnr` is of.
        size: of the file, in bytes; None where no document tells.
        addresses: where it can be downloaded, in the order in which that is tried; none if the package has it.
        sha256: of the file, in hexadecimal, as those published it who downloaded it; None where no document tells.
    """

    name: str
    kind: str
    data: str
    licence: str
    page: str
    file: str
    psnr: float | None = None
    test_set: str | None = None
    size: int | None = None
    addresses: tuple[str, ...] = ()
    sha256: str | None = None

    @property
    def shipped(self) -> bool:
        """Whether it is in the package."""
        return not self.addresses


def _maxim(name: str, data: str, psnr: float, shipped: bool = False) -> Entry:
    """A checkpoint of MAXIM's authors; its size and SHA-256 stand in no document."""
    at = f"https://storage.googleapis.com/gresearch/maxim/ckpt/Deblurring/{data.replace('-', '_')}/checkpoint.npz"
    return Entry(
        name=name,
        kind="MAXIM S-3",
        data=data,
        licence="Apache-2.0",
        page="https://github.com/google-research/maxim",
        file=name if shipped else f"{name}.npz",
        psnr=psnr,
        test_set=data,
        addresses=() if shipped else (at,),
    )


def _nafnet(
    name: str, data: str, width: int, psnr: float, test_set: str, drive: str, size: int, sha256: str
) -> Entry:
    """A checkpoint of NAFNet's authors, which is on Google Drive; and, should that refuse, an unchanged copy.

    The authors publish neither size nor SHA-256. These are the ones on which those agree who downloaded the file.
    """
    file = f"NAFNet-{data.replace('GOPRO', 'GoPro')}-width{width}.pth"
    return Entry(
        name=name,
        kind=f"NAFNet, width {width}",
        data=data,
        licence="MIT",
        page="https://github.com/megvii-research/NAFNet",
        file=file,
        psnr=psnr,
        test_set=test_set,
        size=size,
        addresses=(
            f"https://drive.usercontent.google.com/download?id={drive}&export=download&confirm=t",
            f"https://huggingface.co/nyanko7/nafnet-models/resolve/main/{file}",
        ),
        sha256=sha256,
    )


KNOWN = {
    entry.name: entry
    for entry in (
        _maxim("maxim-gopro", "GOPRO", 32.86, shipped=True),
        _maxim("maxim-reds", "REDS", 28.93),
        _maxim("maxim-realblur-j", "RealBlur-J", 32.84),
        _maxim("maxim-realblur-r", "RealBlur-R", 39.45),
        _nafnet(
            "nafnet-gopro-32",
            "GOPRO",
            32,
            32.87,
            "GOPRO",
            "1Fr2QadtDCEXg6iwWX8OzeZLbHOx2t5Bj",
            68_671_121,
            "19394e6155d12ef6371d1d57496f87f0ec88f92bdffa27c0792690722d5d1a5c",
        ),
        _nafnet(
            "nafnet-gopro-64",
            "GOPRO",
            64,
            33.71,
            "GOPRO",
            "1S0PVRbyTakYY9a82kujgZLbMihfNBLfC",
            271_778_961,
            "329d3ab4077b8d6b7ff61de376e483714667960bf85be027bf4335cda701196f",
        ),
        _nafnet(
            "nafnet-reds-64",
            "REDS",
            64,
            29.09,
            "REDS-val-300",
            "14D4V4raNYIOhETfcuuLI3bGLB-OYIv6X",
            271_756_689,
            "175fe8b3cdf3abedfbc87769779c3d9f491e05bb2e73ea9d627883f90a4b2df3",
        ),
        Entry(
            name="deblurgan-2019",  # since March 2019 in the repository of DeblurGAN; its links elsewhere are dead
            kind="DeblurGAN",
            data="unknown",
            licence="BSD-2-Clause",
            page="https://github.com/KupynOrest/DeblurGAN",
            file="deblurgan-2019.pth",
            addresses=(
                "https://raw.githubusercontent.com/KupynOrest/DeblurGAN/2499a87f96f34f262ea294c7e4cd3fd7e90251f8/"
                "checkpoints/experiment_name/latest_net_G.pth",
            ),
        ),
        Entry(
            name="tutorial-gopro",
            kind="tutorial's ResNet",
            data="GOPRO",
            licence="none stated",
            page="https://github.com/RaphaelMeudec/deblur-gan",
            file="tutorial-gopro.h5",
            addresses=(
                "https://raw.githubusercontent.com/RaphaelMeudec/deblur-gan/8b4b15d36124c4bc7208a97a7e65026206dcf7d6/"
                "generator.h5",
            ),
        ),
    )
}


class _NotDownloadedError(Exception):
    """Why an address gave nothing that can be used, in one line."""


class _Bar(tqdm):
    """A progress bar for `pooch`, which asks whether there is one by its truth value: tqdm's is that of its total."""

    def __bool__(self) -> bool:
        return True


def find(name: str) -> Entry:
    """Return what is known of the weights `name`; raise InputError, which suggests the nearest, for no name."""
    if name not in KNOWN:
        known = ", ".join(KNOWN)
        raise InputError(f"weights: expected one of {known}, received {shown(name)}{nearest(name.lower(), KNOWN)}")
    return KNOWN[name]


def called(path: str | os.PathLike[str]) -> str:
    """Return how to call weights in a message: by their name, where they have one, else by their path."""
    name = next((name for name in KNOWN if Path(path) == place(name)), None)
    return name or shown(path)


def hint(path: str | os.PathLike[str]) -> str:
    """Return "; did you mean X?" where `path`, which is nothing's, is close to the name of weights, else nothing.

    Where it is that name itself, what is there hides the weights.
    """
    text = os.fspath(path)
    if text in KNOWN:
        return "; the weights of that name are found from another folder"
    return "" if os.path.basename(text) != text else nearest(text.lower(), KNOWN, CLOSE)


def _pooch() -> Any:
    """Import pooch, in a notebook without widgets, which tqdm's own bar there would want, without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)
        import pooch
    return pooch


def cache_folder() -> Path:
    """Return the folder of what is downloaded: the variable DEBLURGAN_CACHE, or the platform's for this package."""
    return Path(os.environ.get(VARIABLE) or _pooch().os_cache("deblurgan")).expanduser().absolute()


def place(name: str) -> Path:
    """Return where the weights `name` are, or would be; raise InputError as `find`."""
    entry = find(name)
    return Path(__file__).parents[1] / "assets" / entry.file if entry.shipped else cache_folder() / entry.file


def state(name: str) -> str:
    """Return `SHIPPED`, `CACHED` or `ABSENT`; raise InputError as `find`."""
    if find(name).shipped:
        return SHIPPED
    return CACHED if os.path.isfile(place(name)) else ABSENT


def size(name: str) -> int | None:
    """Return how many bytes the weights `name` take or would take, None where no one knows yet."""
    where = place(name)
    if os.path.isdir(where):
        return sum(part.stat().st_size for part in where.iterdir() if part.is_file())
    return where.stat().st_size if os.path.isfile(where) else KNOWN[name].size


def path(name: str, say: Say | None = None) -> Path:
    """Return where the weights `name` are on this machine, without downloading them; `say` as in `get`.

    Raises:
        InputError: as `find`.
        FileError: they are not here yet; or not the ones that are expected, see `get`.
    """
    entry, where = find(name), place(name)
    if not entry.shipped and not os.path.isfile(where):
        raise FileError(
            f"{name}: expected at {shown(where)}, not there yet; get it with `deblurgan weights get {name}`"
        )
    return where if entry.shipped else _checked(entry, where, say or _log)


def get(name: str, say: Say | None = None) -> Path:
    """Return where the weights `name` are on this machine, after downloading them where they are not here yet.

    `say` takes lines about what is downloaded and noted; the log of this module, as warnings, when None.

    Raises:
        InputError: as `find`.
        FileError: the download failed, or `cache_folder` cannot be written to, and nothing is left there; or the file
            that is there is another than when it came, or than was published.
    """
    entry, where = find(name), place(name)
    if entry.shipped or os.path.isfile(where):
        return path(name, say)
    return _downloaded(entry, where, say or _log)


def resolve(given: str | os.PathLike[str], say: Say | None = None) -> Path:
    """Return the weights that `given` names, as all do that take weights.

    In this order: a file; the best weights of a training run, by its folder or its name in `weights`; whatever else
    is there; the weights of that name, see `get`; and `given` itself, for its reader to report.

    Raises:
        FileError: as `get`; or it is an address.
    """
    check_no_address(given)
    found = Path(given)
    if os.path.isfile(found) or os.path.isfile(f"{found}.index"):  # the latter: a checkpoint
        return found
    run = weights_of_run(found)
    if run != found or os.path.lexists(found) or str(found) not in KNOWN:
        return run
    return get(str(found), say)


def _log(line: str) -> None:
    logging.getLogger(__name__).warning("%s", line)


def _checked(entry: Entry, where: Path, say: Say) -> Path:
    """Return the file `where` if it is the expected one; note which it is where nothing is known of it."""
    digest = _digest(where)
    if entry.sha256 is not None:
        _require(digest, entry.sha256, f"{shown(where)}: expected the SHA-256 that is published")
    elif (noted := _noted(where)) is not None:
        _require(digest, noted, f"{shown(where)}: expected the SHA-256 that {shown(_note_of(where).name)} notes")
    else:
        try:
            _note(where, digest, say)
        except FileError as error:
            say(f"{shown(where)}: SHA-256 {digest}, which cannot be noted: {error}")
    return where


def _require(digest: str, expected: str, what: str) -> None:
    if digest != expected:
        raise FileError(f"{what}, {expected}, found {digest}; remove the file to get it anew")


def _digest(where: Path) -> str:
    try:
        return _pooch().file_hash(str(where))
    except OSError as error:
        raise FileError(f"{shown(where)}: cannot be read: {reason(error)}") from error


def _note_of(where: Path) -> Path:
    return where.with_name(f"{where.name}.json")


def _noted(where: Path) -> str | None:
    """Return the SHA-256 that was noted for the file `where`; None where nothing was."""
    note = _note_of(where)
    try:
        content = json.loads(note.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{shown(note)}: cannot be read: {reason(error)}; remove it to note anew") from error
    digest = content.get("sha256") if isinstance(content, dict) else None
    if not isinstance(digest, str) or not SHA256.fullmatch(digest):
        raise FileError(f"{shown(note)}: expected a SHA-256 under sha256, found {digest!r}; remove it to note anew")
    return digest


def _note(where: Path, digest: str, say: Say) -> None:
    note = _note_of(where)
    with atomic_path(note) as temporary:
        temporary.write_text(json.dumps({"file": where.name, "sha256": digest}, indent=1) + "\n", encoding="utf-8")
    say(f"{shown(where)}: SHA-256 {digest}, noted in {shown(note.name)}: any other is refused from now on")


def _downloaded(entry: Entry, where: Path, say: Say) -> Path:
    try:
        ensure_folder(where.parent)
    except FileError as error:
        raise FileError(f"{error}; the environment variable {VARIABLE} names another") from error
    noted = None if entry.sha256 else _noted(where)
    failures = []
    for address in entry.addresses:
        say(f"{entry.name}: downloading {address}")
        try:
            with atomic_path(where) as temporary:
                _fetch(address, temporary, entry)
                digest = _digest(temporary)
                if digest != (entry.sha256 or noted or digest):
                    whose = "the published" if entry.sha256 else f"that in {shown(_note_of(where).name)},"
                    raise _NotDownloadedError(f"SHA-256 {digest} and not {whose} {entry.sha256 or noted}")
                if entry.sha256 is None and noted is None:
                    _note(where, digest, say)
        except _NotDownloadedError as error:
            failures.append(f"{address}: {error}")
        else:
            return where
    raise FileError(
        f"{entry.name}: cannot be downloaded from {'; '.join(failures)}. By hand: get it there, or as {entry.page} "
        f"tells, and put it at {shown(where)}"
    )


def _fetch(address: str, target: Path, entry: Entry) -> None:
    """Download into the file `target`; raise _NotDownloadedError where that does not arrive whole."""
    import requests

    with _Bar(total=entry.size, desc=entry.name, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        # Without "identity" a server may pack the file, and its length would be that of the packed one.
        options = {
            "headers": {"Accept-Encoding": "identity"},
            "timeout": TIMEOUT,
            "hooks": {"response": _require_https},
        }
        download = _pooch().HTTPDownloader(progressbar=bar, chunk_size=CHUNK, **options)
        try:
            download(address, str(target), None)
        except requests.exceptions.HTTPError as error:
            raise _NotDownloadedError(f"{error.response.status_code} {error.response.reason}") from error
        except requests.exceptions.ChunkedEncodingError as error:
            raise _broken_off(target, bar) from error
        except requests.exceptions.RequestException as error:
            raise _NotDownloadedError(_cause(error)) from error
    if target.stat().st_size < (bar.total or 0):  # of which urllib3 before version 2 says nothing
        raise _broken_off(target, bar)


def _require_https(response: Any, **_: Any) -> None:
    """Raise _NotDownloadedError where a server leads from HTTPS to an address without; called for each response."""
    target = urljoin(response.url, response.headers.get("Location", ""))
    if response.is_redirect and response.url.startswith("https:") and not target.startswith("https:"):
        raise _NotDownloadedError(f"expected https, was led to {shown(target)}")


def _broken_off(target: Path, bar: _Bar) -> _NotDownloadedError:
    of = f" of {bar.total:,}" if bar.total else ""
    return _NotDownloadedError(f"broken off after {target.stat().st_size:,}{of} bytes")


def _cause(error: Exception) -> str:
    """Return what the system said, of the exceptions that led to `error`, or else what that says, in one line."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return " ".join(cause.strerror.split())
        cause = cause.__cause__ or cause.__context__
    return reason(error)
