# SPDX-License-Identifier: Apache-2.0
"""The catalogue: all runs as one table, a row per run x metric x CPU. An index over the run folders, nothing more.

``runs.parquet`` in a campaign's folder keeps it. Run folders never change once finished, so a row stays good as long as
its run.json is the same file (path, size, time of change): new runs are read, removed ones dropped, the rest is taken
from the index. Without the index, with a damaged one, or where it cannot be written, everything is read.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from hdrh.histogram import HdrHistogram

from ..errors import EnvironmentFault, InfrastructureFault, UserError
from .documents import at, objects, text, whole
from .files import BrokenResult, write_file
from .hdr import QUANTILES
from .hlog import find_interval, tag_of
from .runs import Run, execution_dirs, is_execution, load_run, run_dirs
from .values import quantiles_of

#: The index's own version; another one is rebuilt.
INDEX_VERSION = b"8"
INDEX_NAME = "runs.parquet"

#: Of a run's identity, beside the kernel's release: what changes between two nights.
_IDENTITY = (
    "kernel_version", "build_id", "artefact_sha256", "cmdline", "cpu_model", "microcode", "firmware", "serial",
)  # fmt: skip

#: Of attribution, by class of gap: how often, and the time that it took.
_CAUSED = {
    name: (f"{name}_count", f"{name}_stolen_ns") for name in ("interrupt", "exception", "syscall", "unexplained")
}

_TEXT = pa.string()
_COUNT = pa.int64()
_COLUMNS: dict[str, Any] = {
    "campaign": _TEXT,
    "execution": _TEXT,
    "target": _TEXT,
    "bench": _TEXT,
    "params": _TEXT,
    "mode": _TEXT,
    "where": _TEXT,
    "sched": _TEXT,
    "hold": _TEXT,
    "load": _TEXT,
    "kernel_name": _TEXT,
    "boot": _TEXT,
    "duration_ns": _COUNT,
    "settle_ns": _COUNT,
    "attribution": _TEXT,
    "cell": _TEXT,
    "repeat": _COUNT,
    "attempt": _COUNT,
    "session": _COUNT,
    "role": _TEXT,
    "metric": _TEXT,
    "kind": _TEXT,
    "cpu": _COUNT,
    "unit": _TEXT,
    "better": _TEXT,
    "gate": _TEXT,
    **dict.fromkeys(("recorded", "overflow", "negative", "dropped", "missed", "min", "max"), _COUNT),
    **dict.fromkeys(QUANTILES, _COUNT),
    "value": pa.float64(),
    "upper": pa.float64(),
    "attribution_level": _TEXT,
    **{column: _COUNT for columns in _CAUSED.values() for column in columns},
    "state": _TEXT,
    "reasons": _TEXT,
    "kernel": _TEXT,
    **dict.fromkeys(_IDENTITY, _TEXT),
    "started_ns": _COUNT,
    "path": _TEXT,
}
#: Beside the columns, in the index only: what the row was read from.
_STAMP = {"stamp_ns": _COUNT, "stamp_size": _COUNT}
_SCHEMA = pa.schema(list((_COLUMNS | _STAMP).items()), metadata={b"isolbench": INDEX_VERSION})
_CHUNK = 2000  # runs turned into columns at a time: Python objects of all runs at once would take hundreds of MB


class Catalogue(pd.DataFrame):
    """A DataFrame of runs that can open their histograms; stays one when sliced, filtered or sorted.

    ``attrs["warnings"]`` names the result files that could not be read.
    """

    @property
    def _constructor(self) -> type[Catalogue]:
        return Catalogue

    def histogram(self, row: Any) -> HdrHistogram:
        """The HdrHistogram of one row: its index label, the row itself (``df.iloc[0]``) or a tuple of ``itertuples()``.

        Minimum and maximum of the histogram are those of buckets; the exact ones are in the row. Raises
        :class:`~harness.store.hdr.HistogramError` naming the file, :class:`~harness.errors.UserError` for a scalar.
        """
        series = row if isinstance(row, pd.Series) or hasattr(row, "_fields") else self.loc[row]
        path, metric, kind, cpu = (getattr(series, name) for name in ("path", "metric", "kind", "cpu"))
        if kind != "histogram":
            raise UserError(f"{metric} is a {kind}: it has no histogram")
        interval = find_interval(Path(path) / "histograms.hlog", tag_of(metric, None if pd.isna(cpu) else int(cpu)))
        interval.decode()  # our own check of it all: the library raises whatever it stumbles on
        return HdrHistogram.decode(interval.blob)


def load(path: str | os.PathLike[str]) -> Catalogue:
    """The catalogue of a results root, a campaign, an execution, a target's runs or one run.

    Reads the campaigns' indexes and refreshes them. Raises :class:`~harness.errors.UserError` when there is no such
    folder; broken run folders are named in ``attrs["warnings"]`` and left out.
    """
    place = Path(path).absolute()
    warnings: list[str] = []
    campaigns = list(dict.fromkeys(execution.parent for execution in execution_dirs(place))) if place.is_dir() else []
    if campaigns and not is_execution(place):
        tables = [refresh(campaign, warnings) for campaign in campaigns]
        table = pa.concat_tables(tables)
    else:
        table = _absolute(_read(run_dirs(place), place, warnings), place)
    frame = Catalogue(table.drop_columns(list(_STAMP)).to_pandas(types_mapper=_pandas_type))
    frame.attrs["warnings"] = warnings
    return frame


def refresh(campaign_dir: Path, warnings: list[str] | None = None) -> Any:
    """Bring ``runs.parquet`` of a campaign up to date; the ``pyarrow.Table`` of it, with absolute paths.

    Only what is new is read. An index that cannot be written (a read-only folder, a full disk) is no error.
    """
    warnings = [] if warnings is None else warnings
    index = campaign_dir / INDEX_NAME
    known = _load_index(index)
    stamps = _stamps_of(known)
    kept, fresh = set(), []
    for folder in run_dirs(campaign_dir):
        name = folder.relative_to(campaign_dir).as_posix()
        if name in stamps and stamps[name] == _stamp(folder):
            kept.add(name)
        else:
            fresh.append(folder)
    new = _read(iter(fresh), campaign_dir, warnings)
    if not new.num_rows and len(kept) == len(stamps) and index.exists():
        return _absolute(known, campaign_dir)  # written in order
    if len(kept) != len(stamps):
        known = known.filter(pa.array([name in kept for name in known["path"].to_pylist()], pa.bool_()))
    table = pa.concat_tables([known, new]).sort_by(
        [("path", "ascending"), ("metric", "ascending"), ("cpu", "ascending")]
    )
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(_SCHEMA.metadata), buffer, compression="zstd")
    with suppress(EnvironmentFault, InfrastructureFault):
        write_file(index, buffer.getvalue())
    return _absolute(table, campaign_dir)


def _read(folders: Iterator[Path], base: Path, warnings: list[str]) -> Any:
    """The rows of run folders, with paths relative to ``base``; the broken ones named."""
    tables = [_SCHEMA.empty_table()]
    chunk: list[tuple[Path, list[dict[str, Any]]]] = []
    for folder in folders:
        try:
            stamp_ns, stamp_size = _stamp(folder)
            own = {"path": folder.relative_to(base).as_posix(), "stamp_ns": stamp_ns, "stamp_size": stamp_size}
            chunk.append((folder, [{**row, **own} for row in _rows(folder)]))
        except BrokenResult as error:
            warnings.append(str(error))
        if len(chunk) == _CHUNK:
            tables += _columns(chunk, warnings)
            chunk = []
    return pa.concat_tables([*tables, *_columns(chunk, warnings)])


def _rows(folder: Path) -> list[dict[str, Any]]:
    run = load_run(folder)
    try:
        return list(rows_of(run))
    except (AttributeError, TypeError, ValueError) as error:
        raise _misshapen(folder, error) from error


def _columns(chunk: Sequence[tuple[Path, list[dict[str, Any]]]], warnings: list[str]) -> list[Any]:
    """Tables of the runs of ``chunk``. Where something is of another type than its column (a number where a text should
    be), they are looked at one by one, which takes ten times as long, and the broken ones named."""
    try:
        return [pa.Table.from_pylist([row for _, rows in chunk for row in rows], _SCHEMA)]
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    tables = []
    for folder, rows in chunk:
        try:
            tables.append(pa.Table.from_pylist(rows, _SCHEMA))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            warnings.append(str(_misshapen(folder, error)))
    return tables


def _misshapen(folder: Path, error: Exception) -> BrokenResult:
    return BrokenResult(f"{folder / 'run.json'}: not as it should be: {error}")


def rows_of(run: Run) -> Iterator[dict[str, Any]]:
    """The rows of one run, without its path."""
    document = run.document
    spec, identity = document["spec"], document["identity"]
    mode, load_spec = spec.get("mode") or {}, spec.get("load") or {}
    reasons = document["validity"].get("reasons") or []
    common = {
        **{
            key: document.get(key)
            for key in ("campaign", "execution", "target", "cell", "repeat", "attempt", "session")
        },
        "bench": spec.get("bench"),
        "params": _params(spec),
        "mode": mode.get("name"),
        **{key: mode.get(key) for key in ("where", "sched", "hold")},
        "load": load_spec.get("name"),
        "kernel_name": document.get("kernel", "default"),
        "boot": document.get("boot", "plain"),
        "duration_ns": spec.get("duration_ns"),
        "settle_ns": spec.get("settle_ns"),
        "attribution": spec.get("attribution") or "off",
        "state": run.state,
        "reasons": _rules(reasons),
        "kernel": identity.get("kernel_release"),
        **{key: identity.get(key) for key in _IDENTITY},
        "started_ns": (document.get("started") or {}).get("realtime_ns"),
    }
    validity = run.control.get("validity") or {}
    own = {"state": validity.get("state"), "reasons": _rules(validity.get("reasons") or [])}
    caused = _caused(document.get("results"))
    for metric in run.metrics:
        levels = quantiles_of(run, metric) if metric.get("kind") == "histogram" else {}
        numbers = {key: metric[key] for key in metric if key in _COLUMNS and key not in QUANTILES}
        judged = own if metric.get("role") == "control" else {}
        quantiles = {name: _finite(levels.get(name)) for name in QUANTILES}
        of_cpu = {} if metric.get("role") == "control" else caused.get(metric.get("cpu"), {})
        yield {"role": "measured", **common, **judged, **numbers, **quantiles, **of_cpu}


def _caused(results: Any) -> dict[int | None, dict[str, Any]]:
    """By measured CPU, the columns of attribution; of runs without, none. A control has none."""
    found: dict[int | None, dict[str, Any]] = {}
    for result in objects(results):
        told = result.get("attribution")
        if not isinstance(told, Mapping):
            continue
        found[whole(result.get("cpu"))] = {
            "attribution_level": text(told.get("level")),
            **{
                column: whole(at(told, "classes", name, key))
                for name, columns in _CAUSED.items()
                for column, key in zip(columns, ("count", "stolen_ns"), strict=True)
            },
        }
    return found


def _finite(value: float | None) -> float | None:
    """A quantile that lies among missed periods is none; ``missed`` beside it says why."""
    return None if value == math.inf else value


def _rules(reasons: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(str(reason.get("rule")) for reason in reasons))


def _params(spec: Mapping[str, Any]) -> str:
    """The probe's parameters as asked, ``digits=2 ring=65536 threshold=1000ns``. They say what is measured."""
    params = (spec.get("probe") or {}).get("params") or {}
    return " ".join(f"{name}={params[name]}" for name in sorted(params))


def _load_index(path: Path) -> Any:
    try:
        table = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException):
        return _SCHEMA.empty_table()
    if (table.schema.metadata or {}).get(b"isolbench") != INDEX_VERSION or not table.schema.equals(_SCHEMA):
        return _SCHEMA.empty_table()
    return table


def _stamps_of(table: Any) -> dict[str, tuple[int, int]]:
    columns: Iterable[tuple[str, int, int]] = zip(
        *(table[name].to_pylist() for name in ("path", *_STAMP)),
        strict=True,
    )
    return {path: (stamp_ns, size) for path, stamp_ns, size in columns}


def _stamp(folder: Path) -> tuple[int, int]:
    try:
        status = os.stat(folder / "run.json")
    except OSError as error:
        raise BrokenResult(f"{folder / 'run.json'}: {error.strerror}") from error
    return status.st_mtime_ns, status.st_size


def _absolute(table: Any, base: Path) -> Any:
    paths = pc.binary_join_element_wise(str(base), table["path"], "/")
    return table.set_column(table.schema.get_field_index("path"), "path", paths)


def _pandas_type(arrow_type: Any) -> Any:
    """Whole numbers stay whole where some are missing (an unpinned run has no CPU)."""
    return pd.Int64Dtype() if arrow_type == _COUNT else None
