# SPDX-License-Identifier: Apache-2.0
"""What an execution's runs say of causes, gathered while they are read: sums by cell, and what advice needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..advice.cpulists import cpus_of
from ..stats.causes import Sum, add_results
from ..store import sensitivity
from ..store.documents import at, objects
from ..store.runs import Run
from . import causes
from .view import Advised, ModeView

_Cell = tuple[str, str]


@dataclass
class _Known:
    """Of one attributed cell. ``knobs``, ``identity`` and ``cpu`` are of the first of its runs."""

    sums: dict[str, Sum] = field(default_factory=dict)
    knobs: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    cpu: int | None = None


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
        self._cells[run.target, run.cell] = known

    def sums(self, target: str, cell: str) -> Mapping[str, Sum]:
        """By the state of the runs."""
        known = self._cells.get((target, cell))
        return known.sums if known else {}

    def advised(self, target: str, modes: Sequence[ModeView], facts: Mapping[str, Any]) -> tuple[Advised, ...]:
        """What would take away what took most of these cells; ``facts`` are the target's, of its last contact."""
        known = {mode.name: own for mode in modes if (own := self._cells.get((target, mode.cell)))}
        if not known:
            return ()
        first = next(iter(known.values()))
        knobs = {name: own.knobs for name, own in known.items()}
        return causes.advised(modes, _of_its_boot(facts, first.identity), knobs, first.cpu)

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
