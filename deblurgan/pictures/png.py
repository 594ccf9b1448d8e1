"""The chunks of a PNG file."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = 33  # of the signature and the first chunk
_START = 32  # bytes


def chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield the name and size of each chunk; the file stands at its content then, and may be read from."""
    position = len(SIGNATURE)
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        size, name = struct.unpack(">I4s", header)
        yield name, size
        position += size + 12


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk as it stands in a file."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunks(content: bytes, added: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the content of a PNG file with more chunks, of these names and contents, before the pixels."""
    return content[:_HEADER_END] + b"".join(chunk(*one) for one in added) + content[_HEADER_END:]


def behind_the_pixels(file: IO[bytes]) -> list[tuple[bytes, int, bytes]]:
    """Return the name, size and first bytes of each chunk that Pillow comes by only when it decodes the pixels."""
    before = file.tell()
    found: list[tuple[bytes, int, bytes]] = []
    pixels_seen = False
    for name, size in chunks(file):
        pixels_seen |= name == b"IDAT"
        if pixels_seen and name != b"IDAT":
            found.append((name, size, file.read(min(size, _START))))
    file.seek(before)
    return found
