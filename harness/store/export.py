# SPDX-License-Identifier: Apache-2.0
"""Results in other tools' formats: the catalogue, or each gap, as Parquet, CSV or JSON lines; the histograms as one HDR
log; gaps and their causes as a trace for the Perfetto viewer.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError
from . import hdr, spreadsheet
from .catalogue import load
from .files import BrokenResult, replaced
from .gaptable import TABLES as TABLES
from .gaptable import write_gaps
from .hlog import Interval, format_log, read_log
from .perfetto import write_trace
from .runs import iter_runs, run_dirs

FORMATS = ("parquet", "csv", "jsonl", "hlog", "perfetto")


def export(
    path: Path,
    format: str,  # noqa: A002
    out: Path | BinaryIO,
    *,
    merge_cells: bool = False,
    gaps: bool = False,
) -> list[str]:
    """Write what is under ``path`` (results, a campaign, an execution or a run) to the file ``out`` or to a stream.

    ``format`` is one of :data:`FORMATS`; ``merge_cells`` makes the log have one histogram per target, cell and metric,
    of its valid runs, instead of one per run; ``gaps`` makes a table (one of :data:`TABLES`) have a row per gap instead
    of one per metric. Returns the names of result files that could not be read, each with why.
    Raises :class:`~harness.errors.UserError`, :class:`~harness.errors.StorageFull`.
    """
    if format not in FORMATS:
        raise UserError(f"unknown format {format!r}", advice=f"one of {', '.join(FORMATS)}")
    if gaps and format not in TABLES:
        raise UserError(f"gaps are no {format}", advice=f"one of {', '.join(TABLES)}")
    if isinstance(out, Path):
        next(run_dirs(Path(path)), None)  # without such a folder no file is begun
        with replaced(out) as file:
            return export(path, format, file, merge_cells=merge_cells, gaps=gaps)
    warnings: list[str] = []
    if gaps:
        write_gaps(Path(path), format, out, warnings)
    elif format == "perfetto":
        write_trace(Path(path), out, warnings)
    elif format == "hlog":
        out.write(_log(Path(path), merge_cells, warnings).encode("utf-8"))
    else:
        out.write(_catalogue(path, format, warnings))
    out.flush()
    return warnings


def _catalogue(path: Path, format: str, warnings: list[str]) -> bytes:  # noqa: A002
    frame = load(path)
    warnings.extend(frame.attrs["warnings"])
    buffer = io.BytesIO()
    if format == "parquet":
        frame.attrs = {}  # pandas would put them into the file, local paths and all
        frame.to_parquet(buffer, index=False)
    elif format == "csv":
        texts = frame.select_dtypes(["object", "string"])
        frame[texts.columns] = texts.map(spreadsheet.inert)
        frame.to_csv(buffer, index=False, lineterminator="\n", float_format=spreadsheet.number)
    else:
        frame.to_json(buffer, orient="records", lines=True)
    return buffer.getvalue()


def _log(path: Path, merge_cells: bool, warnings: list[str]) -> str:
    comments = ["isolbench: Tag is target/run/metric.cpu"]
    if not merge_cells:
        return format_log((interval for _, interval in _intervals(path, warnings, valid=False)), comments)
    groups: dict[str, list[Interval]] = {}
    for tag, interval in _intervals(path, warnings, valid=True):
        groups.setdefault(tag, []).append(interval)
    merged = [each for tag, group in groups.items() if (each := _merge(tag, group, warnings)) is not None]
    return format_log(merged, ["isolbench: Tag is target/cell/metric.cpu, merged over valid runs"])


def _intervals(path: Path, warnings: list[str], *, valid: bool) -> Iterator[tuple[str, Interval]]:
    """(target/cell/metric, interval tagged target/run/metric) of each histogram."""
    for run in iter_runs(path, warnings):
        if valid and run.state != "valid":
            continue
        try:
            for each in read_log(run.path / "histograms.hlog"):
                each.decode()
                tag = f"{run.target}/{run.name}/{each.tag}"
                cell = f"{run.target}/{run.cell}/{each.tag}"
                yield cell, Interval(tag, each.start_s, each.length_s, each.max_value, each.blob)
        except BrokenResult as error:
            warnings.append(str(error))


def _merge(tag: str, group: Iterable[Interval], warnings: list[str]) -> Interval | None:
    group = list(group)
    try:
        total = hdr.merge(interval.payload for interval in group)
    except BrokenResult as error:
        warnings.append(f"{tag}: {error}")
        return None
    start_s = min(interval.start_s for interval in group)
    # The time that was measured, not the time from the first run to the last.
    length_s = sum(interval.length_s for interval in group)
    longest = max(interval.max_value for interval in group)
    return Interval(tag, start_s, length_s, longest, hdr.to_blob(hdr.encode(total)))
