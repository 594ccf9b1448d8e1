"""The containers of videos, by the extension."""

import os
from pathlib import Path

CONTAINERS = {".m4v": "mp4", ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4", ".webm": "webm"}  # FFmpeg's names


def is_a_video_file(filename: str | os.PathLike[str]) -> bool:
    """Whether the name ends in one of `CONTAINERS`, in upper or lower case. The file is not looked at."""
    return Path(filename).suffix.lower() in CONTAINERS
