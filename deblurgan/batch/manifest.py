"""The manifest: a folder of Parquet files with a row for each picture, written part by part as the work goes on."""

import io
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deblurgan.batch.places import Place
from deblurgan.errors import FileError
from deblurgan.files import reason, shown

FOLDER = "manifest.parquet"
RESTORED, FAILED = "restored", "failed"
SCHEMA = pa.schema(
    {
        "path": pa.string(),  # of the picture, absolute
        "output": pa.string(),  # of its result, below the output folder
        "status": pa.string(),
        "error": pa.string(),  # one line
        "notices": pa.string(),  # what is not as it was, one line
        "height": pa.int32(),
        "width": pa.int32(),
        "bytes": pa.int64(),  # of the result
        "sha256": pa.string(),  # of the result
        "seconds": pa.float32(),  # of a worker, since the picture that it finished before
        "device": pa.string(),
    }
)


def table_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows, from names to values, as a table; what they do not name is null."""
    return pa.Table.from_pylist(list(rows), SCHEMA)


class Manifest:
    """The manifest in the output folder `place`. One process at a time adds to it."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """Return all rows.

        Raises:
            FileError: a part cannot be read.
        """
        parts = [self._part(name, columns) for name in self._names()]
        return pa.concat_tables([_fields(columns).empty_table(), *parts])

    def add(self, name: str, rows: pa.Table) -> None:
        """Write a part of that name, which no other part has had."""
        if len(rows):
            content = io.BytesIO()
            pq.write_table(rows, content, compression="zstd")
            self._place.write(f"{FOLDER}/{name}.parquet", content.getvalue())

    def forget_failed(self) -> None:
        """Take the rows of pictures that failed out of all parts."""
        for name in self._names():
            rows = self._part(name, None)
            kept = rows.filter(pc.not_equal(rows["status"], FAILED))
            if 0 < len(kept) < len(rows):
                self.add(name.removesuffix(".parquet"), kept)
            elif not len(kept):
                self._place.remove(f"{FOLDER}/{name}")

    def _names(self) -> list[str]:
        return [name for name in self._place.names(FOLDER) if name.endswith(".parquet") and not name.startswith(".")]

    def _part(self, name: str, columns: list[str] | None) -> pa.Table:
        where = f"{FOLDER}/{name}"
        try:
            return pq.read_table(io.BytesIO(self._place.read(where)), columns=columns, schema=SCHEMA)
        except (pa.ArrowException, OSError) as error:
            raise FileError(
                f"{shown(self._place.called(where))}: not a readable part of a manifest: {reason(error)}"
            ) from error


def _fields(columns: list[str] | None) -> pa.Schema:
    return SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
