# SPDX-License-Identifier: Apache-2.0
"""What an execution's runs say of causes, gathered while they are read: sums by cell, and what advice needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..advice import Remedy, remedies
from ..advice.cpulists import cpus_of
from ..stats.causes import OTHER, Row, Sum, add_results
from ..store import sensitivity
from ..store.documents import at, objects
from ..store.runs import Run
from . import causes
from .view import Advised, ModeView

_Cell = tuple[str, str]
#: Causes whose remedies are listed, and of each how many; what took less than this share asks for none.
ADVISED, REMEDIES, ASKS = 5, 3, 0.01


@dataclass
class _Known:
    """Of one attributed cell. ``knobs``, ``identity``, ``cpu`` and ``sched`` are of the first of its runs."""

    sums: dict[str, Sum] = field(default_factory=dict)
    knobs: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    cpu: int | None = None
    sched: str = ""


class Caused:
    """By target and cell."""

    def __init__(self) -> None:
        self._cells: dict[_Cell, _Known] = {}

    def add(self, run: Run) -> None:
        known = self._cells.get((run.target, run.cell)) or _Known()
        adding = known.sums.get(run.state) or causes.adding()
        if not add_results(adding, objects(run.document.get("results"))):
            return
        known.sums[run.state] = adding  # which runs the numbers are of is known at the end
        if not known.identity:
            known.identity = run.document["identity"]
            known.knobs = {str(each["name"]): each for each in objects(run.document.get("knobs")) if "name" in each}
            cpu = at(run.document, "results", 0, "cpu")
            known.cpu = cpu if isinstance(cpu, int) else None
            known.sched = str(at(run.document, "spec", "mode", "sched") or "")
        self._cells[run.target, run.cell] = known

    def sums(self, target: str, cell: str) -> Mapping[str, Sum]:
        """By the state of the runs."""
        known = self._cells.get((target, cell))
        return known.sums if known else {}

    def advised(
        self, target: str, modes: Sequence[ModeView], facts: Mapping[str, Any], late: bool
    ) -> tuple[Advised, ...]:
        """What would take away what took most of these cells; ``facts`` are the target's, of its last contact.
        ``late``: as :func:`~harness.report.causes.lateness` says."""
        known = {mode.name: own for mode in modes if (own := self._cells.get((target, mode.cell)))}
        if not known:
            return ()
        first = next(iter(known.values()))
        knobs = {name: own.knobs for name, own in known.items()}
        scheds = {name: own.sched for name, own in known.items()}
        return advised(modes, _of_its_boot(facts, first.identity), knobs, scheds, first.cpu, late)

    def sensitivity(self, target: str, results: Path, warnings: list[str]) -> tuple[str, ...]:
        """Of each kernel that was looked at, what the newest test under ``results`` says of it."""
        known = self._identities(target)
        newest = [sensitivity.newest(results, target, each, warnings) for each in known]
        sentences = [sensitivity.sentence(each, target) for each in newest]
        if len(set(sentences)) > 1:
            releases = [str(each.get("kernel_release") or "a kernel that is not known") for each in known]
            sentences = [f"{release}: {text}" for release, text in zip(releases, sentences, strict=True)]
        return tuple(dict.fromkeys(sentences))

    def _identities(self, target: str) -> list[Mapping[str, Any]]:
        """Of the kernels that were looked at, one each."""
        found: dict[tuple[str, ...], Mapping[str, Any]] = {}
        for (name, _), known in self._cells.items():
            if name == target:
                key = tuple(str(known.identity.get(part)) for part in ("build_id", "kernel_release", "kernel_version"))
                found.setdefault(key, known.identity)
        return list(found.values())


def advised(
    modes: Sequence[ModeView],
    facts: Mapping[str, Any],
    knobs: Mapping[str, Mapping[str, Any]],
    scheds: Mapping[str, str],
    cpu: int | None,
    late: bool,
) -> tuple[Advised, ...]:
    """Of the causes that take most of a section, what would take them away here. ``knobs`` and ``scheds`` are by mode.

    First what is not in effect, then what cannot be known; of each in the order in which it helps. Causes that the same
    would take away are one. For what nobody looked at there is none.
    """
    most: dict[str, tuple[float, str, Row]] = {}
    for mode in modes:
        if mode.causes is None or mode.causes.observed_s <= 0:
            continue
        for row in mode.causes.rows:
            per_s = row.stolen_ns / mode.causes.observed_s
            asks = mode.causes.share(row.stolen_ns) >= ASKS and row.cause != OTHER
            known = row.class_ != causes.UNEXPLAINED or not causes.unseen(mode.causes, late)
            if asks and known and per_s > most.get(causes.name_of(row), (0.0,))[0]:
                most[causes.name_of(row)] = (per_s, mode.name, row)
    found: dict[tuple[Remedy, ...], list[tuple[str, str]]] = {}
    for name, (_, mode_name, row) in sorted(most.items(), key=lambda each: -each[1][0])[:ADVISED]:
        own = remedies(row.cause, facts, knobs.get(mode_name), cpu, scheds.get(mode_name, ""))
        ordered = sorted(own, key=lambda each: {False: 0, None: 1, True: 2}[each.in_effect])
        found.setdefault(tuple(ordered[:REMEDIES]), []).append((name, mode_name))
    return tuple(
        Advised(tuple(name for name, _ in named), tuple(dict.fromkeys(mode for _, mode in named)), own)
        for own, named in found.items()
    )


def _of_its_boot(facts: Mapping[str, Any], identity: Mapping[str, Any]) -> Mapping[str, Any]:
    """The facts with the kernel that the runs had, where the last contact found the machine with another one."""
    kernel, cmdline = facts.get("kernel"), identity.get("cmdline")
    kernel = kernel if isinstance(kernel, Mapping) else {}
    same = cmdline == kernel.get("cmdline") and identity.get("kernel_version") == kernel.get("version")
    if same or not isinstance(cmdline, str):
        return facts
    cpus = facts.get("cpus")
    online = at(cpus, "online")
    booted = {
        sysfs: sorted(
            cpu
            for word in cmdline.split()
            if word.startswith(f"{parameter}=")
            for cpu in cpus_of(word.partition("=")[2], online if isinstance(online, list) else [])
        )
        for sysfs, parameter in (("isolated", "isolcpus"), ("nohz_full", "nohz_full"))
    }
    return {
        **facts,
        "kernel": {"cmdline": cmdline, "preempt": identity.get("preempt"), "version": identity.get("kernel_version")},
        "cpus": {**(cpus if isinstance(cpus, Mapping) else {}), **booted},
    }
