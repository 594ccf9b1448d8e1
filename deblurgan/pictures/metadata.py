"""What an image file says besides its pixels: EXIF, XMP, IPTC, texts, colours and resolution, between formats."""

import dataclasses
import re
import struct
import zlib
from dataclasses import dataclass
from typing import IO, Any

from PIL import Image, PngImagePlugin, TiffImagePlugin

from deblurgan.files import shown
from deblurgan.pictures import exif as exif_blocks
from deblurgan.pictures import icc, jxl, png
from deblurgan.pictures.boxes import primary_properties

# What Pillow, and others that read pictures, raise for damaged files.
DECODING_ERRORS = (
    Image.DecompressionBombError,
    ArithmeticError,
    AssertionError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION_HEADER = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP_HEADER = b"Photoshop 3.0\0"
_JPEG_SEGMENT_BYTES = 65533
_PHOTOSHOP_IPTC = 0x0404
_TIFF_XMP, _TIFF_IPTC = 700, 33723
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:=["']|>))([1-8])""")
# With (?<!\s) the blanks with which XMP is padded are gone through once, not from each of them.
_XMP_POINTER = re.compile(
    rb"""(?<!\s)\s*xmpNote:HasExtendedXMP\s*=\s*("[^"]*"|'[^']*')|<xmpNote:HasExtendedXMP>[^<]*</xmpNote:HasExtendedXMP>"""
)
# What else may be in the file of a picture, by how XMP says so
_COMPANIONS = {
    "its gain map for HDR": re.compile(rb"""(?<!\s)\s+hdrgm:Version\s*=\s*("[^"]*"|'[^']*')"""),
    "the video in it": re.compile(rb"""(?<!\s)\s+G?Camera:(MotionPhoto|MicroVideo)\s*=\s*["']1["']"""),
}
_XMP_TEXT = "XML:com.adobe.xmp"
_EXIF_TEXT = "Raw profile type exif"  # how programs stored it before PNG had an EXIF chunk
_COMMENT = "Comment"  # PNG's keyword for what JPEG, JPEG 2000 and GIF call so
_COMMENT_PART = f"text ({_COMMENT})"
_COMPRESSED = range(1024, 1 << 20)  # characters; of larger ones Pillow by itself reads only what is not compressed
_PNG_COLOUR = (b"gAMA", b"cHRM", b"mDCV", b"cLLI")

_PHOTOGRAPHS = frozenset({"AVIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP"})
_HOLDERS = {
    "EXIF": _PHOTOGRAPHS | {"JXL"},
    "colour profile": _PHOTOGRAPHS,
    "XMP": _PHOTOGRAPHS | {"JXL"},
    "extended XMP": frozenset({"JPEG"}),
    "IPTC": frozenset({"JPEG", "TIFF"}),
}
_WITH_COMMENT = frozenset({"GIF", "JPEG", "JPEG2000"})
_WITH_CICP = frozenset({"AVIF", "HEIF", "PNG"})
# Numbers of ITU-T H.273: those that are, or are taken for, sRGB; and names of others.
_USUAL_PRIMARIES, _USUAL_TRANSFERS = (1, 2), (1, 2, 6, 13, 14, 15)
_NAMES = ({9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}, {8: "linear light", 16: "PQ", 18: "HLG"})


@dataclass(frozen=True)
class Metadata:
    """What goes along with the pixels of a photograph; None, or nothing, for what it does not have.

    Attributes:
        exif: EXIF with its "Exif" header. That of a TIFF file is its fields about the scene, without orientation.
        icc_profile: the colour profile.
        xmp: an XMP packet.
        xmp_extension: the segments of a JPEG file that hold what its XMP packet points to.
        iptc: IPTC's records, as JPEG and TIFF files hold them.
        texts: keyword and text of a PNG file; the comment of a JPEG, JPEG 2000 or GIF file is one.
        dpi: horizontal and vertical resolution in pixels per inch.
        cicp: primaries, transfer function, matrix and range of the values, where they are said by numbers of ITU-T
            H.273, as in a PNG file's chunk cICP.
        png_colour: other chunks of a PNG file, name and content, that say what its values mean.
    """

    exif: bytes | None = None
    icc_profile: bytes | None = None
    xmp: bytes | None = None
    xmp_extension: tuple[bytes, ...] = ()
    iptc: bytes | None = None
    texts: tuple[tuple[str, str], ...] = ()
    dpi: tuple[float, float] | None = None
    cicp: bytes | None = None
    png_colour: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def orientation(self) -> int:
        """How the pixels are to be turned: the number, 1 to 8, that EXIF states, or else XMP, or else 1."""
        stated = exif_blocks.orientation(self.exif) if self.exif else None
        match = _XMP_ORIENTATION.search(self.xmp or b"")
        return stated or (int(match[2]) if match else 1)

    def upright(self, height: int, width: int) -> "Metadata":
        """Return it for an upright picture of this size: orientation 1, and no thumbnail of the old picture.

        Raises:
            LookupError, struct.error: EXIF is damaged.
        """
        return dataclasses.replace(
            self,
            exif=exif_blocks.upright(self.exif, height, width) if self.exif else None,
            xmp=_XMP_ORIENTATION.sub(rb"\g<1>1", self.xmp) if self.xmp else None,
        )

    def save_options(self, file_format: str) -> dict[str, Any]:
        """Return Pillow's save options for as much of this as the format holds; see also `with_colour`.

        Raises:
            DECODING_ERRORS: EXIF is damaged.
        """
        options: dict[str, Any] = {"dpi": self.dpi, "icc_profile": self._profile(file_format), "exif": self.exif}
        if file_format in _WITH_COMMENT:
            options["comment"] = self._comment
        if file_format == "JPEG":
            options |= self._jpeg_options()
        elif file_format == "PNG":
            options["pnginfo"] = self._png_texts()
        elif file_format == "TIFF":
            options["exif"] = self._tiff_fields()
        elif file_format in ("AVIF", "HEIF", "JXL", "WEBP"):
            options["xmp"] = self._whole_xmp
        if file_format == "HEIF" and self.cicp:
            primaries, transfer = self.cicp[:2]
            matrix = 9 if primaries == 9 else 6  # BT.2020's, or that of a file without numbers
            options["color_primaries"], options["transfer_characteristics"] = primaries, transfer
            options["matrix_coefficients"], options["full_range_flag"] = matrix, 1
        return {name: value for name, value in options.items() if value}

    @property
    def _whole_xmp(self) -> bytes | None:
        """XMP that points to no extension."""
        return self.xmp and _XMP_POINTER.sub(b"", self.xmp)

    def _jpeg_options(self) -> dict[str, Any]:
        parts = {name: part for name, part in self._jpeg_parts().items() if len(part) <= _JPEG_SEGMENT_BYTES}
        segments = [_segment(0xE1, part) for part in (parts["XMP"], *self.xmp_extension)] if "XMP" in parts else []
        if "IPTC" in parts:
            segments.append(_segment(0xED, parts["IPTC"]))
        return {"exif": parts.get("EXIF"), "comment": parts.get(_COMMENT_PART), "extra": b"".join(segments)}

    def _png_texts(self) -> PngImagePlugin.PngInfo | None:
        chunks = PngImagePlugin.PngInfo()
        for keyword, text in self.texts:
            chunks.add_text(keyword, text, zip=len(text) in _COMPRESSED)
        if xmp := self._whole_xmp:
            chunks.add_itxt(_XMP_TEXT, xmp.decode(errors="replace"))
        return chunks if chunks.chunks else None

    def _tiff_fields(self) -> bytes | None:
        source = Image.Exif()
        if self.exif:
            source.load(self.exif)
        fields = exif_blocks.scene_fields(source)
        more = ((_TIFF_XMP, self._whole_xmp), (_TIFF_IPTC, self.iptc))
        fields.update({tag: part for tag, part in more if part})
        return fields.tobytes() if fields else None

    def with_colour(self, content: bytes, file_format: str) -> bytes:
        """Return the content of a file with what is said of colours, where Pillow has no options for that."""
        if file_format == "PNG":
            cicp = ((b"cICP", self.cicp),) if self.cicp else ()
            return png.with_chunks(content, (*cicp, *self.png_colour))
        if file_format == "AVIF" and self.cicp:
            at = content.index(b"colrnclx") + 8
            return content[:at] + struct.pack(">HH", *self.cicp[:2]) + content[at + 4 :]
        return content

    def not_kept(self, file_format: str) -> list[str]:
        """Return what of this a file of this format does not hold, one line each; resolution is not worth one."""
        parts = {
            "EXIF": self.exif,
            "colour profile": self.icc_profile,
            "XMP": self.xmp,
            "extended XMP": self.xmp_extension,
            "IPTC": self.iptc,
        }
        names = [name for name, content in parts.items() if content and file_format not in _HOLDERS[name]]
        keywords = [keyword for keyword, _ in self.texts if file_format != "PNG"]
        if file_format in _WITH_COMMENT and _COMMENT in keywords:
            keywords.remove(_COMMENT)
        if keywords:
            names.append(f"text ({', '.join(map(shown, keywords[:3]))}{' ...' if keywords[3:] else ''})")
        lost = [f"{file_format} holds no {', '.join(names)}"] if names else []
        if file_format == "JPEG":
            large = [name for name, part in self._jpeg_parts().items() if len(part) > _JPEG_SEGMENT_BYTES]
            lost += [f"JPEG holds no {', '.join(large)} above 64 KB"] if large else []
        names = _unusual(self.cicp) if self.cicp and file_format not in _WITH_CICP else []
        if names and not self._profile(file_format):
            lost.append(f"{file_format} holds no sign of {' and '.join(names)}: colours will look different")
        gamma = dict(self.png_colour).get(b"gAMA")
        if file_format != "PNG" and gamma and not 45000 < struct.unpack(">I", gamma)[0] < 46000:  # sRGB: 1 / 2.2
            lost.append(f"{file_format} holds no gamma, which the PNG file states: brightness will look different")
        return lost

    def _profile(self, file_format: str) -> bytes | None:
        """The colour profile to write: the file's own, or one in the place of `cicp` where that cannot be written."""
        if self.icc_profile or not self.cicp or file_format not in _PHOTOGRAPHS - _WITH_CICP:
            return self.icc_profile
        return icc.profile(*self.cicp[:2]) if _unusual(self.cicp) else None

    @property
    def _comment(self) -> bytes:
        return dict(self.texts).get(_COMMENT, "").encode()

    def _jpeg_parts(self) -> dict[str, bytes]:
        """What goes into a segment of a JPEG file each, of 64 KB at most."""
        parts = {"EXIF": self.exif, _COMMENT_PART: self._comment}
        if self.xmp:
            parts["XMP"] = _XMP_HEADER + self.xmp
        if self.iptc:
            head = _PHOTOSHOP_HEADER + struct.pack(">4sHHI", b"8BIM", _PHOTOSHOP_IPTC, 0, len(self.iptc))
            parts["IPTC"] = head + self.iptc + bytes(len(self.iptc) % 2)
        return {name: content for name, content in parts.items() if content}


def _segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG file."""
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


def _unusual(cicp: bytes) -> list[str]:
    """What numbers of ITU-T H.273 say that is not as in sRGB."""
    names = [] if cicp[0] in _USUAL_PRIMARIES else [_NAMES[0].get(cicp[0], f"primaries {cicp[0]}")]
    return names + ([] if cicp[1] in _USUAL_TRANSFERS else [_NAMES[1].get(cicp[1], f"transfer function {cicp[1]}")])


def read_metadata(image: Image.Image, file: IO[bytes]) -> tuple[Metadata, list[str]]:
    """Return the metadata of an image that Pillow has opened, and a line for each thing that is left out.

    Viewers turn a picture whose EXIF is damaged elsewhere, so that its orientation is kept where it can be read.
    XMP does not speak of what is left out.

    Some PNG files have theirs behind the pixels: call `image.load()` before.
    """
    before = file.tell()
    cicp, png_colour = _colour(image, file)
    file.seek(before)
    extension = tuple(part for part in _segments(image, "APP1") if part.startswith(_XMP_EXTENSION_HEADER))
    xmp, companions = (jxl.read_xmp(file) if image.format == "JXL" else _xmp(image)) or b"", []
    profile = image.info.get("icc_profile")
    for companion, sign in _COMPANIONS.items():
        xmp, found = sign.subn(b"", xmp)
        companions += [companion] if found else []
    if "hdrgainmap" in str(image.info.get("aux")):  # of a HEIC file
        companions.append("its gain map for HDR")
    left_out = [f"{companion} is not kept" for companion in companions]
    if not extension:
        xmp = _XMP_POINTER.sub(b"", xmp)
    metadata = Metadata(
        icc_profile=None if image.format == "JXL" and profile and jxl.is_usual(profile) else profile,
        xmp=xmp or None,
        xmp_extension=extension if xmp else (),
        iptc=_iptc(image),
        texts=_texts(image),
        dpi=_dpi(image),
        cicp=cicp,
        png_colour=png_colour,
    )
    try:
        with_exif = dataclasses.replace(metadata, exif=_exif(image))
        with_exif.upright(1, 1)
    except DECODING_ERRORS:
        left_out.append("damaged EXIF is not kept")
        try:
            return dataclasses.replace(metadata, exif=exif_blocks.orientation_alone(_exif(image) or b"")), left_out
        except DECODING_ERRORS:
            return metadata, left_out
    return with_exif, left_out


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """Resolution in pixels per inch where the file states one that makes sense."""
    try:
        horizontal, vertical = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError):
        return None
    sensible = 1 < horizontal < 65536 and 1 < vertical < 65536  # Pillow's value for a TIFF that states none is 1
    return (horizontal, vertical) if sensible else None


def _colour(image: Image.Image, file: IO[bytes]) -> tuple[bytes | None, tuple[tuple[bytes, bytes], ...]]:
    """`Metadata.cicp` and `Metadata.png_colour` of a file."""
    if image.format == "PNG":
        found: dict[bytes, bytes] = {}
        for name, size in png.chunks(file):
            if name == b"IDAT":
                break
            if name in (b"cICP", *_PNG_COLOUR):
                found.setdefault(name, file.read(min(size, 64)))
        cicp = found.pop(b"cICP", b"")
        if "srgb" in image.info or image.info.get("icc_profile"):  # which stand above these
            found = {name: content for name, content in found.items() if name not in (b"gAMA", b"cHRM")}
        return (cicp if len(cicp) == 4 else None), tuple(found.items())
    if image.format in ("AVIF", "HEIF"):
        for kind, content in primary_properties(file):
            if kind == b"colr" and content.startswith(b"nclx"):
                cicp = bytes([content[5], content[7], 0, 1])  # of the RGB that is read
                return (cicp if _unusual(cicp) else None), ()
    return None, ()


def _segments(image: Image.Image, name: str) -> list[bytes]:
    """The contents of the segments of a JPEG file that have this name."""
    return [bytes(content) for segment, content in getattr(image, "applist", ()) if segment == name]


def _xmp(image: Image.Image) -> bytes | None:
    """The XMP packet of a file, which Pillow keeps in several places."""
    for content in _segments(image, "APP1"):
        if content.startswith(_XMP_HEADER):
            return content[len(_XMP_HEADER) :]
    xmp = image.info.get("xmp") or image.info.get(_XMP_TEXT) or getattr(image, "tag_v2", {}).get(_TIFF_XMP)
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return xmp if isinstance(xmp, bytes) else None


def _iptc(image: Image.Image) -> bytes | None:
    """IPTC's records of a JPEG or TIFF file."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # which may declare them to be 32-bit numbers
        records = image.tag_v2._tagdata.get(_TIFF_IPTC)
    else:
        records = image.info.get("photoshop", {}).get(_PHOTOSHOP_IPTC)
    return bytes(records) if isinstance(records, bytes) and records else None


def _texts(image: Image.Image) -> tuple[tuple[str, str], ...]:
    """The texts of a PNG file, or the comment of another."""
    if image.format == "PNG":
        texts = {str(keyword): text for keyword, text in image.info.items() if isinstance(text, str)}
        return tuple(item for item in texts.items() if item[0] not in (_XMP_TEXT, _EXIF_TEXT))
    comment = image.info.get("comment")
    if not isinstance(comment, bytes) or not comment:
        return ()
    try:
        return ((_COMMENT, comment.decode()),)
    except UnicodeDecodeError:
        return ((_COMMENT, comment.decode("latin-1")),)


def _exif(image: Image.Image) -> bytes | None:
    """The EXIF block of a file with its header, as `exif.HEADER` and a small TIFF file."""
    if image.format == "TIFF":
        fields = exif_blocks.scene_fields(image.getexif())
        return fields.tobytes() if fields else None
    exif = image.info.get("exif")
    if exif is None and _EXIF_TEXT in image.info:
        exif = bytes.fromhex("".join(image.info[_EXIF_TEXT].split("\n")[3:]))
    if not exif:
        return None
    while exif.startswith(exif_blocks.HEADER):
        exif = exif[len(exif_blocks.HEADER) :]
    return bytes(exif_blocks.HEADER + exif)
