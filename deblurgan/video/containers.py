"""The containers of videos, by the extension."""

import os
from pathlib import Path

# FFmpeg's names of those that are written
CONTAINERS = {
    ".3g2": "3g2",
    ".3gp": "3gp",
    ".m2ts": "mpegts",
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mp4",
    ".mts": "mpegts",
    ".ts": "mpegts",
    ".webm": "webm",
}
READ_ALONE = frozenset({".asf", ".avi", ".flv", ".m2v", ".mpeg", ".mpg", ".mxf", ".ogv", ".vob", ".wmv"})
INSTEAD = ".mkv"  # of those: it holds whatever is in them


def is_a_video_file(filename: str | os.PathLike[str]) -> bool:
    """Whether the name has the extension of a video, in upper or lower case. The file is not looked at."""
    return Path(filename).suffix.lower() in CONTAINERS.keys() | READ_ALONE
