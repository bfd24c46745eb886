# SPDX-License-Identifier: Apache-2.0
"""Run folders and attempts: written once, whole, and never again; read one by one, the broken ones named.

Schema history of ``run.json`` and ``attempt.json`` (readers take every older one, writers only the newest):

1. first.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..agent.spec import FAULTS, STATES, RunRecord, RunSpec, SpecError, safe_name, to_json
from ..errors import UserError
from . import hlog
from .files import TMP_PREFIX, BrokenResult, make_folder, read_document, to_bytes
from .files import is_execution as is_execution
from .hdr import Counts
from .record import COUNTERS, RunContext, control_of, identity_of, interrupts_of, judged, metrics_of, verify, whole

SCHEMA = 1

#: Of a log, this much of its beginning and as much of its end is kept (bytes).
LOG_HALF = 512 * 1024

#: Of a list of events: a line is some hundred bytes, twelve names of the kernel's and a few numbers.
_LONGEST_LINE = 1 << 20

#: What the spool itself adds beside a run's files.
_NOT_FILES = ("record.json", "MANIFEST")

#: A list of events that a probe kept, of one CPU: ``gaps.cpu3.jsonl``; the control's: ``control.gaps.cpu0.jsonl``.
_EVENTS = re.compile(r"((?:control\.)?[a-z][a-z0-9_]{0,31})\.(?:cpu(0|[1-9][0-9]{0,5})|any)\.jsonl")

#: Of a RunRecord, what run.json takes over as it is.
_KEPT = (
    "status",
    "spec",
    "effective",
    "knobs",
    "load",
    "facts_before",
    "facts_after",
    "results",
    "started",
    "elapsed_ns",
    "sequence",
    "agent_version",
)


@dataclass(frozen=True)
class Run:
    """A finished run, as read: its folder and its ``run.json``."""

    path: Path
    document: Mapping[str, Any]

    @property
    def target(self) -> str:
        return str(self.document["target"])

    @property
    def name(self) -> str:
        return str(self.document["run"])

    @property
    def cell(self) -> str:
        return str(self.document["cell"])

    @property
    def state(self) -> str:
        """``valid``, ``suspect`` or ``invalid``."""
        return str(self.document["validity"]["state"])

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """All of them, those of a control with ``role`` ``control`` and other names."""
        return list(self.document["metrics"])

    @property
    def control(self) -> Mapping[str, Any]:
        """What became of the control: ``cpu``, ``status``, ``reason``, ``validity``, ``result``. Empty without one."""
        found = self.document.get("control")
        return found if isinstance(found, Mapping) else {}

    def interval(self, metric: str, cpu: int | None) -> hlog.Interval:
        return hlog.find_interval(self.path / "histograms.hlog", hlog.tag_of(metric, cpu))

    def counts(self, metric: str, cpu: int | None) -> Counts:
        """The histogram. Raises :class:`~harness.store.hdr.HistogramError`, naming the file."""
        return self.interval(metric, cpu).decode()


def write_run(
    execution_dir: Path, target: str, record: Mapping[str, Any], files: Mapping[str, bytes], context: RunContext
) -> Path:
    """Keep one finished run: ``runs/<target>/<run>/``. Returns the folder; one that is finished is left untouched.

    ``record`` is the JSON of a :class:`~harness.agent.spec.RunRecord`, ``files`` what came with it, by name. Both come
    from a machine under test and are believed in nothing: names, shapes, SHA-256 and the histograms are checked.

    Raises :class:`~harness.agent.spec.SpecError` (shape or names), :class:`~harness.store.record.CorruptTransfer`,
    :class:`~harness.store.hdr.HistogramError`, :class:`~harness.errors.StorageFull`.
    """
    record = to_json(RunRecord.from_json(record))
    spec = RunSpec.from_json(record["spec"], "record.spec")
    if record["run"] != spec.run:
        raise SpecError(f"record.run: {record['run']} says that it is {spec.run}")
    final = Path(execution_dir) / "runs" / safe_name(target, "target") / spec.run
    if record["status"] != "ok":
        raise SpecError(f"{spec.run}: status is {record['status']!r}: a failed run is an attempt")
    if (final / "run.json").exists():
        return final
    files = {name: data for name, data in files.items() if name not in _NOT_FILES}
    verify(record, files)
    metrics, intervals, reasons = metrics_of(record, files, context)
    control, control_metrics, control_intervals = control_of(record, files, context)
    contents = {
        "histograms.hlog": hlog.format_log(
            intervals + control_intervals, [f"isolbench: {target} {final.name}"]
        ).encode(),
        "log.txt": bounded(files.get("log.txt", b"")),
        **{f"{name}.jsonl.gz": gzip.compress(lines, mtime=0) for name, lines in _events(files).items()},
    }
    document = {
        "schema": SCHEMA,
        "campaign": context.campaign,
        "execution": context.execution,
        "target": target,
        "run": final.name,
        "cell": spec.cell,
        "repeat": spec.repeat,
        "attempt": spec.attempt,
        "session": context.session,
        "kernel": context.kernel,
        "boot": context.boot,
        **{key: record[key] for key in _KEPT if key in record},
        "interrupts": interrupts_of(record),
        "validity": judged(record["validity"], reasons),
        "identity": identity_of(record, context),
        "metrics": metrics + control_metrics,
        **({"control": control} if control else {}),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(contents.items())},
    }
    make_folder(final, {**contents, "run.json": _dump(document)}, "run.json")
    return final


def write_attempt(
    execution_dir: Path,
    target: str,
    *,
    cell: str,
    repeat: int,
    attempt: int,
    reason: str,
    fault: str,
    context: RunContext,
    advice: str | None = None,
    record: Mapping[str, Any] | None = None,
    log: bytes = b"",
) -> Path:
    """Keep one run that failed: ``attempts/<target>/<cell>-r<repeat>-a<attempt>/``. Idempotent like :func:`write_run`.

    ``fault`` is whose: user, environment, infrastructure or bug. ``record`` is what the target sent, if anything.
    """
    if fault not in FAULTS:
        raise SpecError(f"fault: not one of {', '.join(FAULTS)}: {fault!r}")
    name = safe_name(f"{cell}-r{whole(repeat, 'repeat')}-a{whole(attempt, 'attempt')}", "attempt")
    final = Path(execution_dir) / "attempts" / safe_name(target, "target") / name
    document = {
        "schema": SCHEMA,
        "campaign": context.campaign,
        "execution": context.execution,
        "target": target,
        "run": f"{cell}-r{repeat}",
        "cell": cell,
        "repeat": repeat,
        "attempt": attempt,
        "session": context.session,
        "kernel": context.kernel,
        "boot": context.boot,
        **{key: record[key] for key in (*_KEPT, "validity") if record is not None and key in record},
        "reason": reason,
        "fault": fault,
        "advice": advice,
    }
    make_folder(final, {"log.txt": bounded(log), "attempt.json": _dump(document)}, "attempt.json")
    return final


def load_run(path: Path) -> Run:
    """The run in the folder ``path``. Raises :class:`~harness.store.files.BrokenResult`, naming the file."""
    return Run(Path(path), _checked(Path(path) / "run.json"))


def attempt_dirs(execution_dir: Path) -> list[Path]:
    """The failed runs of an execution, in order of target and name."""
    return [folder for target in _folders(Path(execution_dir) / "attempts") for folder in _folders(target)]


def run_dirs(path: Path) -> Iterator[Path]:
    """The finished runs under ``path``, in order of name: a results root, a campaign, an execution, a target or a run.

    Raises :class:`~harness.errors.UserError` when there is no such folder.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such folder", advice="give a results folder, a campaign, an execution or a run")
    if (path / "run.json").exists():
        yield path
        return
    if path.parent.name == "runs":
        yield from _finished(path)
        return
    for execution in execution_dirs(path):
        for target in _folders(execution / "runs"):
            yield from _finished(target)


def execution_dirs(path: Path, depth: int = 2) -> Iterator[Path]:
    """The executions at or under ``path``: it may be one, a campaign's folder or the results root."""
    if is_execution(path):
        yield path
    elif depth > 0:
        for below in _folders(path):
            yield from execution_dirs(below, depth - 1)


def iter_runs(path: Path, warnings: list[str] | None = None) -> Iterator[Run]:
    """The runs under ``path`` one by one (see :func:`run_dirs`). A broken one is named in ``warnings`` and skipped."""
    for folder in run_dirs(path):
        try:
            yield load_run(folder)
        except BrokenResult as error:
            if warnings is not None:
                warnings.append(str(error))


def load_attempt(path: Path) -> dict[str, Any]:
    """The ``attempt.json`` in the folder ``path``. Raises :class:`~harness.store.files.BrokenResult`."""
    document = read_document(Path(path) / "attempt.json", SCHEMA)
    _strings(document, Path(path) / "attempt.json", ("target", "run", "cell", "reason", "fault"))
    return document


def iter_attempts(execution_dir: Path, warnings: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The ``attempt.json`` of each failed run of an execution. A broken one is named in ``warnings`` and skipped."""
    for folder in attempt_dirs(execution_dir):
        try:
            yield load_attempt(folder)
        except BrokenResult as error:
            if warnings is not None:
                warnings.append(str(error))


def bounded(log: bytes) -> bytes:
    """``log``, or its first and last :data:`LOG_HALF` bytes with a line between that says how much was left out."""
    if len(log) <= 2 * LOG_HALF:
        return log
    left_out = len(log) - 2 * LOG_HALF
    return log[:LOG_HALF] + f"\n… {left_out} bytes left out …\n".encode() + log[-LOG_HALF:]


def _events(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Each list of events the probe kept, of all CPUs as one JSON-lines text, each line with its CPU."""
    lists: dict[str, bytes] = {}
    for name in sorted(files):
        if place := _EVENTS.fullmatch(name):
            cpu = (place[2] or "null").encode()
            # Text, not JSON: a noisy run has tens of thousands of lines, and the probe's own bytes are kept.
            lines = (b"\n" + files[name]).replace(b"\n{", b'\n{"cpu":' + cpu + b",")[1:]
            lists[place[1]] = lists.get(place[1], b"") + lines
    return lists


def _dump(document: Mapping[str, Any]) -> bytes:
    try:
        return to_bytes(document)
    except (ValueError, TypeError, RecursionError) as error:  # NaN, infinity, absurd nesting
        raise SpecError(f"record: cannot be kept as JSON: {error}") from error


def _checked(path: Path) -> dict[str, Any]:
    """A run.json that has all that readers rely on, of whatever older schema."""
    document = read_document(path, SCHEMA)
    _strings(document, path, ("target", "run", "cell", "campaign", "execution"))
    for key in ("spec", "validity", "identity"):
        if not isinstance(document.get(key), dict):
            raise BrokenResult(f"{path}: {key} is missing")
    metrics = document.get("metrics")
    if not isinstance(metrics, list) or not all(_is_metric(each) for each in metrics):
        raise BrokenResult(f"{path}: metrics are missing or not of their shape")
    control = document.get("control", {})
    if not isinstance(control, dict) or not isinstance(control.get("validity", {}), dict):
        raise BrokenResult(f"{path}: control is not of its shape")
    validity = document["validity"]
    reasons = validity.get("reasons") or []
    if validity.get("state") not in STATES or not all(isinstance(reason, dict) for reason in reasons):
        raise BrokenResult(f"{path}: validity has no state, or no proper reasons")
    return document


def _is_metric(entry: object) -> bool:
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("metric"), str)
        or not isinstance(entry.get("unit"), str)
    ):
        return False
    quantiles = entry.get("quantiles", {})
    if not isinstance(quantiles, dict) or not isinstance(entry.get("role", ""), str):
        return False
    whole_numbers = [entry.get(key) for key in ("cpu", "min", "max", *COUNTERS)] + list(quantiles.values())
    numbers = [entry.get(key) for key in ("value", "upper")]
    return all(type(each) in (int, type(None)) for each in whole_numbers) and all(
        type(each) in (int, float, type(None)) for each in numbers
    )


def _strings(document: Mapping[str, Any], path: Path, keys: tuple[str, ...]) -> None:
    for key in keys:
        if not isinstance(document.get(key), str):
            raise BrokenResult(f"{path}: {key} is missing")


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith((TMP_PREFIX, ".")) and e.is_dir())
    except FileNotFoundError:
        return []
    return [path / name for name in names]


def _finished(target: Path) -> list[Path]:
    return [folder for folder in _folders(target) if (folder / "run.json").exists()]


def read_json(path: Path, newest: int = SCHEMA) -> dict[str, Any]:
    """``plan.json`` and ``lanes/<target>.json``, for readers of a whole execution."""
    return read_document(path, newest)


def read_gaps(path: Path) -> Iterator[dict[str, Any]]:
    """The gaps of the run folder ``path``, one by one; none when it kept none. Raises :class:`BrokenResult`."""
    return read_events(path, "gaps")


def read_events(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """The same of any list that a probe keeps: ``late`` of ``wake``. As it is read: a list may be long."""
    file = _event_file(path, name)
    try:
        with gzip.open(file) as lines:
            while line := lines.readline(_LONGEST_LINE):
                yield json.loads(line)
    except FileNotFoundError:
        return
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise BrokenResult(f"{file}: {error}") from error


def event_text(path: Path, name: str) -> bytes:
    """The list as it is kept, a JSON object a line; nothing when there is none. Raises :class:`BrokenResult`."""
    file = _event_file(path, name)
    try:
        return gzip.decompress(file.read_bytes())
    except FileNotFoundError:
        return b""
    except (OSError, EOFError, zlib.error) as error:
        raise BrokenResult(f"{file}: {error}") from error


def _event_file(path: Path, name: str) -> Path:
    return Path(path) / f"{safe_name(name, 'events')}.jsonl.gz"
