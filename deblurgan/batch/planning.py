"""What is left to restore, what the results are called, and which shares it is handed out in."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from deblurgan.batch.manifest import FAILED, FOLDER, RESTORED
from deblurgan.batch.shares import OWN
from deblurgan.errors import InputError
from deblurgan.files import shown
from deblurgan.jobs.finding import Input
from deblurgan.jobs.planning import Where, target_of

MOST_IN_SHARE = 64
SHARES_PER_ACTOR = 16  # where there are several: so that none waits long for the last at the end
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Plan:
    """What is left.

    Attributes:
        due: `path` and `output` of what is to be restored.
        total: how many pictures there are, what is done included.
        restored, failed: how many of them the manifest has as such.
    """

    due: pa.Table
    total: int
    restored: int
    failed: int

    def shares(self, actors: int) -> Iterator[pa.Table]:
        """Yield the pictures in shares for so many actors."""
        count = actors * SHARES_PER_ACTOR if actors > 1 else 1
        size = min(MOST_IN_SHARE, -(-len(self.due) // count))
        for start in range(0, len(self.due), size or 1):
            yield self.due.slice(start, size).combine_chunks()


def planned(found: Iterable[tuple[str, str]], known: pa.Table, where: Where, problems: list[str]) -> Plan:
    """Return what is left of the pictures `found`, paths and names, when the manifest has the rows `known`.

    A result has the name of its picture and the extension that `jobs.planning.plan` gives it. Where two pictures
    would have one result, or one's is there already, each of those that are still to be restored gets twelve digits
    of the SHA-256 of its path into its name.

    Args:
        found: as `listing.found` yields them; a path that comes twice counts once.
        known: with the columns `path`, `output` and `status`.
        where: of it `file_format` and `suffix` count.
        problems: gets a line for each path that cannot stand in a manifest, or has no name.
    """
    table = _unique(_named(found, where, problems))
    restored, failed = (
        pc.sum(pc.is_in(table["path"], _of_status(known, status))).as_py() or 0 for status in (RESTORED, FAILED)
    )
    due = table.filter(pc.invert(pc.is_in(table["path"], known["path"].combine_chunks())))
    counts = table.group_by("output").aggregate([([], "count_all")])
    several = counts.filter(pc.greater(counts["count_all"], 1))["output"]
    taken = pa.concat_arrays([*several.chunks, *known["output"].chunks, pa.array([], pa.string())])
    clash = pc.is_in(due["output"], taken)
    renamed = due.filter(clash)
    outputs = [
        _hashed(*pair) for pair in zip(renamed["path"].to_pylist(), renamed["output"].to_pylist(), strict=True)
    ]
    if len(set(outputs)) < len(outputs) or pc.any(pc.is_in(pa.array(outputs, pa.string()), due["output"])).as_py():
        raise InputError("names: two results would have the same name, in spite of a part of their pictures' SHA-256")
    due = pa.concat_tables(
        [due.filter(pc.invert(clash)), renamed.set_column(1, "output", pa.array(outputs, pa.string()))]
    )
    return Plan(due, len(table), restored, failed)


def _of_status(known: pa.Table, status: str) -> pa.Array:
    return known.filter(pc.equal(known["status"], status))["path"].combine_chunks()


def _unique(table: pa.Table) -> pa.Table:
    """The table with each path once, in the order of their first places."""
    first = table.group_by("path", use_threads=False).aggregate([("output", "first")])
    return first.select(["path", "output_first"]).rename_columns(["path", "output"])


def _named(found: Iterable[tuple[str, str]], where: Where, problems: list[str]) -> pa.Table:
    """Paths, and the names of results, in columns: a fifth of the memory that Python's objects take."""
    schema = pa.schema({"path": pa.string(), "output": pa.string()})
    chunks: list[pa.RecordBatch] = []
    rows: list[tuple[str, str]] = []

    def add() -> None:
        columns = [list(column) for column in zip(*rows, strict=True)] or [[], []]
        chunks.append(pa.record_batch(columns, schema=schema))
        rows.clear()

    for path, name in found:
        if problem := _problem(path, name):
            problems.append(problem)
            continue
        rows.append((path, _output(name, where)))
        if len(rows) == _CHUNK:
            add()
    add()
    return pa.Table.from_batches(chunks)


def _problem(path: str, name: str) -> str | None:
    """What is wrong with a path that no picture can have."""
    if not path.isprintable():
        try:
            path.encode()
        except UnicodeEncodeError:
            return f"{shown(path)}: expected a name in UTF-8, which alone a manifest holds"
    return f"{shown(path)}: expected the path of a picture" if not name or "\0" in path else None


def _output(name: str, where: Where) -> str:
    if name.split("/", 1)[0] in (FOLDER, OWN):
        name = f"_{name}"
    relative = Path(PurePosixPath(name))
    return target_of(Input(relative, relative), where.file_format, where.suffix or "").as_posix()


def _hashed(path: str, output: str) -> str:
    name = PurePosixPath(output)
    return str(name.with_name(f"{name.stem}-{hashlib.sha256(path.encode()).hexdigest()[:12]}{name.suffix}"))
