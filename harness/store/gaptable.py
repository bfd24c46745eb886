# SPDX-License-Identifier: Apache-2.0
"""Every gap that was kept as a row: of all runs under a folder, as CSV, JSON lines or Parquet. Streamed.

The columns stand in docs/formats.md.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from .gaps import Gap, GapList, gaps_of, lists_of
from .runs import Run, iter_runs
from .spreadsheet import inert

#: What a table can be written as.
TABLES = ("parquet", "csv", "jsonl")
#: Column -> whether it is a whole number (else text). ``chain`` is text in a table, a list in JSON.
COLUMNS = {
    "campaign": False,
    "execution": False,
    "target": False,
    "run": False,
    "cell": False,
    "state": False,
    "role": False,
    "list": False,
    "cpu": True,
    "at_ns": True,
    "length_ns": True,
    "class": False,
    "cause": False,
    "chain": False,
    "more": True,
    "address": False,
    "tid": True,
    "sender_cpu": True,
    "sender_tid": True,
    "sender_task": False,
    "sender_site": False,
}
#: Rows that are written at a time.
_BATCH = 20_000


def write_gaps(path: Path, format: str, out: BinaryIO, warnings: list[str]) -> None:  # noqa: A002
    """Write the gaps, and what came late, of the runs under ``path`` to ``out``. ``format`` is one of TABLES.

    What cannot be read is named in ``warnings``, and left out.
    """
    writers: dict[str, Callable[[Iterator[dict[str, Any]], BinaryIO], None]] = {
        "csv": _csv,
        "jsonl": _jsonl,
        "parquet": _parquet,
    }
    writers[format](_rows(path, warnings), out)


def _rows(path: Path, warnings: list[str]) -> Iterator[dict[str, Any]]:
    for run in iter_runs(path, warnings):
        for of in lists_of(run):
            for gap in gaps_of(run, of, warnings):
                yield _row(run, of, gap)


def _row(run: Run, of: GapList, gap: Gap) -> dict[str, Any]:
    sender = gap.sender or {}
    return {
        **{key: run.document[key] for key in ("campaign", "execution", "target", "run", "cell")},
        "state": run.state,
        "role": of.role,
        "list": of.name,
        "cpu": gap.cpu,
        "at_ns": gap.at_ns,
        "length_ns": gap.length_ns,
        "class": gap.class_,
        "cause": gap.cause,
        "chain": gap.chain,
        "more": gap.more,
        "address": gap.address,
        "tid": gap.tid,
        **{f"sender_{key}": sender.get(key) for key in ("cpu", "tid", "task", "site")},
    }


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """``chain`` as one text: ``0 vector:local_timer, 610 hrtimer:tick_nohz_handler``."""
    return {**row, "chain": ", ".join(f"{at} {what}" for at, what in row["chain"]) or None}


def _csv(rows: Iterator[dict[str, Any]], out: BinaryIO) -> None:
    text = io.TextIOWrapper(out, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: inert(value) for key, value in _flat(row).items()} for row in rows)
    text.detach()  # who opened it closes it


def _jsonl(rows: Iterator[dict[str, Any]], out: BinaryIO) -> None:
    for row in rows:
        out.write(
            json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace") + b"\n"
        )


def _parquet(rows: Iterator[dict[str, Any]], out: BinaryIO) -> None:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    schema = pyarrow.schema([(name, pyarrow.int64() if whole else pyarrow.string()) for name, whole in COLUMNS.items()])
    with ParquetWriter(out, schema) as writer:
        while some := [_encodable(_flat(row)) for row in islice(rows, _BATCH)]:
            writer.write_table(pyarrow.Table.from_pylist(some, schema))


def _encodable(row: dict[str, Any]) -> dict[str, Any]:
    """Without lone surrogates, as in the other formats."""
    return {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for key, value in row.items()
    }
