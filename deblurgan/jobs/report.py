"""What became of the files of a job."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Report:
    """What became of the pictures.

    Attributes:
        written: the files written.
        failed: for each picture that could not be restored, one line that names it and says why.
        notices: for each picture of which something was not kept as it was, one line that says what.
        skipped: the results that were there already.
    """

    written: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
