"""The boxes of files in the containers of MP4, HEIC and AVIF: ISO/IEC 14496-12 and 23008-12."""

import io
import struct
from collections.abc import Iterator
from typing import IO


def boxes(file: IO[bytes], start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each box between two places, and where its content begins and ends."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = struct.unpack(">Q", file.read(8))[0], 16
        elif size == 0:  # up to the end
            size = end - start
        if size < head:
            raise ValueError(f"a box {kind!r} of {size} bytes")
        yield kind, start + head, min(start + size, end)
        start += size


def primary_properties(file: IO[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the kind and content of each property of the picture that a HEIC or AVIF file shows.

    Raises:
        ValueError, LookupError, struct.error: the file is damaged.
    """
    found = _contents(file, 0, file.seek(0, io.SEEK_END), (b"meta",))
    if b"meta" not in found:
        return []
    meta = io.BytesIO(found[b"meta"][4:])
    found = _contents(meta, 0, len(meta.getvalue()), (b"pitm", b"iprp"))
    if len(found) < 2:
        return []
    form = ">H" if found[b"pitm"][0] == 0 else ">I"  # by the version of the box
    (primary,) = struct.unpack_from(form, found[b"pitm"], 4)
    iprp = io.BytesIO(found[b"iprp"])
    found = _contents(iprp, 0, len(iprp.getvalue()), (b"ipco", b"ipma"))
    ipco = io.BytesIO(found[b"ipco"])
    properties = [(kind, ipco.getvalue()[start:end]) for kind, start, end in boxes(ipco, 0, len(ipco.getvalue()))]
    return [properties[index - 1] for index in _associated(found[b"ipma"], primary) if index]


def bits(file: IO[bytes]) -> int:
    """Return how many bits a channel has in the picture that a HEIC or AVIF file shows; 8 where it does not say."""
    stated = [content for kind, content in primary_properties(file) if kind == b"pixi"]
    return max(stated[0][5:], default=8) if stated else 8


def _contents(file: IO[bytes], start: int, end: int, kinds: tuple[bytes, ...]) -> dict[bytes, bytes]:
    """The content of the first box of each of these kinds between two places."""
    found: dict[bytes, bytes] = {}
    for kind, begin, stop in boxes(file, start, end):
        if kind in kinds and kind not in found:
            file.seek(begin)
            found[kind] = file.read(stop - begin)
    return found


def _associated(ipma: bytes, item: int) -> list[int]:
    """Which properties an item has: their numbers, from 1 on, by an item property association box."""
    version, wide = ipma[0], ipma[3] & 1
    (count,) = struct.unpack_from(">I", ipma, 4)
    position = 8
    for _ in range(count):
        here, many = struct.unpack_from(">IB" if version else ">HB", ipma, position)
        position += 5 if version else 3
        numbers = struct.unpack_from(f">{many}{'H' if wide else 'B'}", ipma, position)
        position += many * (2 if wide else 1)
        if here == item:
            return [number & (0x7FFF if wide else 0x7F) for number in numbers]  # without the mark "essential"
    return []
