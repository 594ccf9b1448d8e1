"""Damage of every kind, the same for the same random numbers; inside of checksums too, which are then made right."""

import gzip
import io
import json
import struct
import zipfile
import zlib

from deblurgan.pictures.png import SIGNATURE, chunk

EXTREMES = [kind * size for kind in (b"\0", b"\xff", b"\x7f", b"\x80") for size in (1, 2, 4, 8)]
VALUES = [None, True, 0, -1, 3, 2**31, 2**63, 2**70, 0.5, float("nan"), 1e308, "", "a", "../a", "\0", [], [1], {}]
HEAD = 600  # bytes, where half of the damage is done
TABLE = (0xDB4775248B80FB57).to_bytes(8, "little")  # how LevelDB's tables end, such as a checkpoint's index


def mutated(content, random):
    """`content` with damage in one to five places."""
    if content.startswith(SIGNATURE) and random.random() < 0.6:
        return _png(content, random)
    if content.startswith(b"PK\3\4") and random.random() < 0.7:
        return _zip(content, random)
    if content.startswith(b"\x1f\x8b") and random.random() < 0.7:
        return gzip.compress(mutated(gzip.decompress(content), random), 1)
    if content.startswith(b"{") and random.random() < 0.7:
        return _json(content, random)
    if content[8:9] == b"{" and random.random() < 0.7:  # safetensors
        end = 8 + int.from_bytes(content[:8], "little")
        header = _json(content[8:end], random)
        return struct.pack("<Q", len(header)) + header + content[end:]
    if content.endswith(TABLE) and random.random() < 0.7:
        return table(content, random)
    return _bytes(content, random)


def _bytes(content, random):
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 3, 5))):
        end = len(changed) if random.random() < 0.5 else min(HEAD, len(changed))
        where, size = random.randint(0, end), random.randint(1, 40)
        match random.choice(("change", "change", "bit", "remove", "insert", "repeat", "cut", "number", "number")):
            case "change":
                changed[where : where + 1] = random.randbytes(1)
            case "bit" if where < len(changed):
                changed[where] ^= 1 << random.randrange(8)
            case "remove":
                del changed[where : where + size]
            case "insert":
                changed[where:where] = random.randbytes(size)
            case "repeat":
                changed[where:where] = changed[where : where + size] * random.randint(1, 4)
            case "cut" if random.random() < 0.3:
                del changed[where:]
            case "number":
                number = random.choice(EXTREMES)
                changed[where : where + len(number)] = number
    return bytes(changed)


def _png(content, random):
    """Damage in one chunk, or a chunk that is missing, doubled or elsewhere; pixels and text are compressed anew."""
    chunks, at = [], len(SIGNATURE)
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += size + 12
    place = random.randrange(len(chunks))
    name, data = chunks.pop(place)
    match random.choice(("change", "change", "change", "missing", "twice", "elsewhere")):
        case "change" if name == b"IDAT":
            chunks.insert(place, (name, zlib.compress(_bytes(zlib.decompress(data), random))))
        case "change":
            chunks.insert(place, (name, _bytes(data, random)))
        case "twice":
            chunks[place:place] = [(name, data)] * 2
        case "elsewhere":
            chunks.insert(random.randint(0, len(chunks)), (name, data))
    return SIGNATURE + b"".join(chunk(*one) for one in chunks)


def _zip(content, random):
    """Damage in one member, by what it is itself."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(changed, "w") as target:
        members = source.infolist()
        chosen = random.choice(members)
        for member in members:
            data = source.read(member)
            if member is chosen:
                data = mutated(data, random)
            target.writestr(member.filename, data, member.compress_type)
    return changed.getvalue()


def _json(content, random):
    """Other values in a few places of a document."""
    document = json.loads(content)
    for _ in range(random.choice((1, 1, 2, 3))):
        outer = document
        while True:
            keys = list(outer) if isinstance(outer, dict) else range(len(outer))
            if not keys:
                break
            key = random.choice(keys)
            if not isinstance(outer[key], (dict, list)) or random.random() < 0.1:
                if random.random() < 0.1:
                    del outer[key]
                else:
                    outer[key] = random.choice(VALUES)
                break
            outer = outer[key]
    return json.dumps(document).encode()


def table(content, random):
    """Damage in the first block of a table, which keeps its length; the checksum is CRC-32C, turned and shifted."""
    end = content[-48] & 0x7F | (content[-47] & 0x7F) << 7 * (content[-48] >> 7)  # where the next block begins
    end |= (content[-46] & 0x7F) << 14 if content[-48] >> 7 and content[-47] >> 7 else 0
    block = _bytes(content[: end - 5], random)[: end - 5].ljust(end - 5, b"\0") + content[end - 5 : end - 4]
    crc = 0xFFFFFFFF
    for byte in block:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return block + struct.pack("<I", masked) + content[end:]
