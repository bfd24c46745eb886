# SPDX-License-Identifier: Apache-2.0
"""``sensitivity.json``: what ``doctor --sensitivity`` found out, by target; the newest of a target and its kernel.

Schema history (readers take every older one, writers only the newest):

1. first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any

from .files import BrokenResult, read_document, to_bytes, write_file

SCHEMA = 1
FILE = "sensitivity.json"
#: The campaign's name, and so that of the folder under the results' root.
CAMPAIGN = "sensitivity"

#: Of a run's identity, what is kept; the first that two of them know decides whether kernels or machines are one.
IDENTITY = (
    "build_id", "kernel_release", "kernel_version", "cmdline", "arch", "cpu_model", "serial", "uuid", "machine_id",
    "virtual", "probe_sha256",
)  # fmt: skip
_KERNELS = ("build_id", "kernel_version", "kernel_release")
_MACHINES = ("uuid", "machine_id", "serial")


@dataclass(frozen=True)
class Kind:
    """What is known of one kind of disturbance, as :class:`~harness.stats.shares.Score` says it.

    ``found``, ``of`` so many; ``recall`` and ``precision`` are lower bounds, 0..1; ``precision`` is ``None`` where the
    kernel does not tell who sent an interrupt, and then ``by_chance`` bounds what is taken for found without having
    been.
    """

    kind: str
    verdict: str
    of: int
    found: int
    recall: float
    named: int
    false: int
    precision: float | None
    by_chance: float | None
    blind: bool


@dataclass(frozen=True)
class Measured:
    """Of one target: when (UTC, ISO 8601), in which execution, at which level of attribution, and what by kind.

    It is of ``runs``, of which ``complete`` have all the events that the kernel counted. ``unavailable`` are kinds that
    could not be made or seen there, with the reason.
    """

    path: Path
    target: str
    at: str
    level: str
    verdict: str
    bar: float
    runs: int
    complete: int
    kinds: tuple[Kind, ...]
    unavailable: Mapping[str, str]
    identity: Mapping[str, Any]

    @property
    def seen(self) -> tuple[Kind, ...]:
        return tuple(kind for kind in self.kinds if not kind.blind and kind.of)


def write(execution: Path, document: Mapping[str, Any]) -> Path:
    """Keep ``document`` beside the execution's plan. Raises as :func:`~harness.store.files.write_file`."""
    path = execution / FILE
    write_file(path, to_bytes({"schema": SCHEMA, **document}))
    return path


def read(path: Path) -> dict[str, Measured]:
    """By target what the file ``path`` says. Raises :class:`BrokenResult`, naming it."""
    document = read_document(path, SCHEMA)
    try:
        at, bar = str(document["measured"]), float(document["bar"])
        return {name: _measured(path, name, at, bar, entry) for name, entry in document["targets"].items()}
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BrokenResult(f"{path}: not of its shape: {type(error).__name__}: {error}") from error


def newest(
    results: Path, target: str, identity: Mapping[str, Any], warnings: list[str] | None = None
) -> Measured | None:
    """The newest sensitivity of ``target`` on the kernel of ``identity`` (a run's), under the root ``results``.

    That of another machine under the same name, of another kernel, and one in which nothing was measured are passed
    over. A broken file is named in ``warnings``.
    """
    for path in _newest_first(results):
        try:
            found = read(path).get(target)
        except BrokenResult as error:
            if warnings is not None:
                warnings.append(str(error))
            continue
        if found is not None and found.seen and same_kernel(found.identity, identity):
            return found
    return None


def same_kernel(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both were found on one kernel of one machine, by the best that both know of it."""
    return _same(one, other, _KERNELS) is True and _same(one, other, _MACHINES) is not False


def sentence(measured: Measured | None, target: str) -> str:
    """For a report: what the newest sensitivity says, in one line; else how to get one."""
    if measured is None:
        return f"sensitivity: never measured on this kernel: isolbench doctor --sensitivity {target}"
    seen = measured.seen
    worst = min(seen, key=lambda kind: (kind.recall, kind.kind))
    found, of = sum(kind.found for kind in seen), sum(kind.of for kind in seen)
    kinds = f"{len(seen)} kinds" if len(seen) > 1 else f"kind {worst.kind}"
    least = f", least of {worst.kind}: {worst.found:,} of {worst.of:,}" if len(seen) > 1 else ""
    parts = [f"found {found:,} of {of:,} disturbances of {kinds}{least}, >= {percent(worst.recall)}"]
    precise = [kind.precision for kind in seen if kind.precision is not None]
    if precise:
        parts.append(f"named rightly >= {percent(min(precise))}")
    for verdict, what in (("below", "is missed by"), ("too few", "is not shown for")):
        if short := [kind.kind for kind in seen if kind.verdict == verdict]:
            parts.append(f"the bar of {percent(measured.bar)} {what} {', '.join(short)}")
    if measured.complete < measured.runs:
        parts.append(f"events were missing in {measured.runs - measured.complete} of its {measured.runs} runs")
    return f"sensitivity: {'; '.join(parts)}; level {measured.level}, measured {measured.at[:10]} on this kernel"


def percent(share: float) -> str:
    """``99.75 %``: a lower bound, so rounded down."""
    return f"{floor(share * 10_000 + 1e-6) / 100:.2f} %"


def _newest_first(results: Path) -> Sequence[Path]:
    return sorted((Path(results) / CAMPAIGN).glob(f"*/{FILE}"), reverse=True)


def _same(one: Mapping[str, Any], other: Mapping[str, Any], keys: Sequence[str]) -> bool | None:
    """By the first of ``keys`` that both know; ``None``: there is none."""
    return next((one[key] == other[key] for key in keys if one.get(key) and other.get(key)), None)


def _measured(path: Path, name: str, at: str, bar: float, entry: Mapping[str, Any]) -> Measured:
    return Measured(
        path=path,
        target=name,
        at=at,
        level=str(entry["level"]),
        verdict=str(entry["verdict"]),
        bar=bar,
        runs=int(entry["runs"]["scored"]),
        complete=int(entry["runs"]["complete"]),
        kinds=tuple(_kinds(entry["kinds"])),
        unavailable={str(kind): str(why) for kind, why in entry["unavailable"].items()},
        identity=dict(entry["identity"]),
    )


def _kinds(entries: Sequence[Mapping[str, Any]]) -> Iterator[Kind]:
    for each in entries:
        numbers = {key: int(each[key]) for key in ("named", "false")}
        yield Kind(
            kind=str(each["kind"]),
            verdict=str(each["verdict"]),
            recall=float(each["recall"]),
            precision=_bound(each["precision"]),
            by_chance=_bound(each["by_chance"]),
            blind=bool(each["blind"]),
            found=int(each["trials"][0]),
            of=int(each["trials"][1]),
            **numbers,
        )


def _bound(value: float | None) -> float | None:
    return None if value is None else float(value)
