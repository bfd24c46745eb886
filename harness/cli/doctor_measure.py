# SPDX-License-Identifier: Apache-2.0
"""``doctor TARGET``: why is this core not quiet, and what helps?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from ..campaign.diagnosis import Measured
    from ..config.inventory import Inventory
    from ..stats.diagnosis import Diagnosis

#: Which exit code says it all where several would fit: the first of these.
_PRECEDENCE = (2, 130, 143, 1, 3, 4, 5, 0)


def worst_of(codes: Sequence[int]) -> int:
    """Of several exit codes the one to end with; one that is none of the command line's is a bug, and says so."""
    return min(codes, key=lambda code: _PRECEDENCE.index(code) if code in _PRECEDENCE else -1, default=0)


@dataclass
class Examination:
    """What is measured on targets that were met: ``facts`` by name. ``left_out``: why not on the others, with advice.

    ``quiet``: nothing is printed, for ``told`` says it all; ``fixes``: a second round follows (:mod:`.doctor_fix`).
    ``chosen`` becomes the mode of each target that is measured, ``codes`` an exit code for each thing that was done.
    """

    known: Inventory
    facts: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, tuple[str, str]]
    results: Path
    duration_ns: int
    mode: str | None = None
    quiet: bool = False
    fixes: bool = False
    chosen: dict[str, str] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    def measure(self, out: Console) -> Measured | None:
        """None where no target can be measured at all."""
        from ..plan.diagnosis import best_mode

        for name, (why, advice) in self.left_out.items():
            self._not_measured(name, why, advice, out)
        for name, facts in self.facts.items():
            mode, why = (self.mode, "") if self.mode else best_mode(facts, self.known.targets[name])
            if mode is None:
                self._not_measured(name, why, "", out)
                self.codes.append(3)
            else:
                self.chosen[name] = mode
        if not self.chosen:
            return None
        measured = self.round(self.chosen, ())
        for name, (why, advice) in measured.lacking.items():
            self._not_measured(name, why, advice, out)
        for found in measured.found.values():
            self._show(found, measured, out)
        if measured.outcome.finished:
            self.say(str(measured.execution.path))
        return measured

    def round(self, chosen: Mapping[str, str], tune: Sequence[str]) -> Measured:
        """An execution, with its progress; ``chosen`` are the modes."""
        from ..campaign import execution as executions
        from ..campaign.diagnosis import carried_out, plan_of
        from .progress import Progress

        execution = executions.create(
            plan_of(chosen, self.known, self.duration_ns, tune), self.results, self.known.path
        )
        with Progress(execution, quiet=self.quiet) as progress:
            measured = carried_out(execution, self.known, progress.listen)
        self.codes.append(measured.outcome.exit_code)
        if measured.outcome.exit_code:
            self.say(f"isolbench: {replace(measured.outcome, once=True).sentence}")
        return measured

    def print(self, out: Console, line: str) -> None:
        from rich.text import Text

        from .render import printable, unheard

        if not self.quiet:
            with unheard():
                out.print(Text(printable(line)))

    def say(self, line: str) -> None:
        """Beside the results, on stderr."""
        from .render import printable

        if not self.quiet:
            click.echo(printable(line), err=True)

    def _show(self, found: Diagnosis, measured: Measured, out: Console) -> None:
        from ..report.diagnosis import print_diagnosis
        from ..report.diagnosis_json import to_json
        from .render import unheard

        advice = _raise(found, measured.facts[found.target])
        self.told.append({**to_json(found, advice), "path": str(measured.execution.path)})
        if self.quiet:
            return
        with unheard():
            print_diagnosis(found, advice, out, *self._sensitivity(found))
            if found.complaints and not self.fixes:
                self._hint(found, measured.facts[found.target], out)

    def _hint(self, found: Diagnosis, facts: Mapping[str, Any], out: Console) -> None:
        """What to do next."""
        from ..advice.state import get
        from ..report.diagnosis import print_to_copy, tune_line
        from ..stats.diagnosis import fixable

        if knobs := fixable(found):
            whose = "can be set now" if get(facts, "privileges", "root") else "root could set now"
            print_to_copy(f"what {whose}, and --fix tries", tune_line(knobs), out)
        self.print_boots(found, out)

    def print_boots(self, found: Diagnosis, out: Console) -> None:
        """What to copy into the inventory; of this machine, which no inventory boots, into its boot loader's file."""
        from ..config.inventory import LOCAL
        from ..report.diagnosis import boots_line, command_line, print_to_copy
        from .render import unheard

        line = boots_line(found)
        if self.quiet or not line:
            return
        with unheard():
            if found.target == LOCAL:
                print_to_copy("what needs a boot, on the kernel's command line", command_line(found), out)
                return
            listed = isinstance(self.known.targets[found.target].isolated, list | tuple)
            also = "" if listed or "{isolated}" not in line else f" (and isolated: {found.cpu} for {found.target})"
            print_to_copy(f"what needs a boot, in the inventory{also}", line, out)

    def _sensitivity(self, found: Diagnosis) -> list[str]:
        """How far the causes are to be trusted, as far as that was measured there."""
        from ..store.sensitivity import newest, sentence

        if found.level == "nothing":
            return []
        return [sentence(newest(self.results, found.target, found.identity), found.target)]

    def _not_measured(self, target: str, why: str, advice: str, out: Console) -> None:
        self.told.append({"target": target, "error": {"message": why, "advice": advice or None}})
        self.print_why_not(f"{target}: not measured: {why}", advice, out)

    def print_why_not(self, line: str, advice: str, out: Console) -> None:
        self.print(out, line)
        if advice:
            self.print(out, f"  advice: {advice}")


def _raise(found: Diagnosis, facts: Mapping[str, Any]) -> str:
    """What would raise the level of attribution there."""
    from ..advice.attribution import TRACEPOINTS, forecast

    return "" if found.level == TRACEPOINTS else forecast(facts).advice
