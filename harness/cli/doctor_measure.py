# SPDX-License-Identifier: Apache-2.0
"""``doctor TARGET``: why is this core not quiet, and what helps? ``--fix``: does it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
_NO_VERDICT = "one run each: for a verdict repeat both in a campaign"


def worst_of(codes: Sequence[int]) -> int:
    """Of several exit codes the one to end with."""
    return min(codes, key=lambda code: _PRECEDENCE.index(code) if code in _PRECEDENCE else -1, default=0)


@dataclass
class Examination:
    """What is measured on targets that were met: ``facts`` by name, and why not on the others (``left_out``)."""

    known: Inventory
    facts: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, str]
    results: Path
    duration_ns: int
    mode: str | None = None
    quiet: bool = False
    codes: list[int] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    fixed: list[dict[str, Any]] = field(default_factory=list)
    _chosen: dict[str, str] = field(default_factory=dict)

    def measure(self, out: Console) -> Measured | None:
        """The first round. None where no target could be measured; what was said is in ``told``."""
        from ..plan.diagnosis import best_mode

        for name, why in self.left_out.items():
            self._not_measured(name, why, "", out)
        for name, facts in self.facts.items():
            mode, why = (self.mode, "") if self.mode else best_mode(facts, self.known.targets[name])
            if mode is None:
                self._not_measured(name, why, "", out)
                self.codes.append(3)
            else:
                self._chosen[name] = mode
        if not self._chosen:
            return None
        measured = self._round(self._chosen, ())
        for name, (why, advice) in measured.lacking.items():
            self._not_measured(name, why, advice, out)
        for found in measured.found.values():
            self._show(found, measured, out)
            self.told.append(self._json(found, measured))
        self._say(str(measured.execution.path))
        return measured

    def _round(self, chosen: Mapping[str, str], tune: Sequence[str]) -> Measured:
        from ..campaign import execution as executions
        from ..campaign.diagnosis import carried_out, plan_of
        from .progress import Progress

        plan = plan_of(chosen, self.known, self.duration_ns, tune)
        execution = executions.create(plan, self.results, self.known.path)
        with Progress(execution, quiet=self.quiet) as progress:
            measured = carried_out(execution, self.known, progress.listen)
        self.codes.append(measured.outcome.exit_code)
        if measured.outcome.exit_code:
            self._say(f"isolbench: {measured.outcome.sentence}")
        return measured

    def _show(self, found: Diagnosis, measured: Measured, out: Console) -> None:
        from ..report.diagnosis import print_diagnosis
        from .render import unheard

        if not self.quiet:
            with unheard():
                print_diagnosis(found, _raise(found, measured), out)

    def _json(self, found: Diagnosis, measured: Measured) -> dict[str, Any]:
        from ..report.diagnosis import to_json

        return {**to_json(found, _raise(found, measured)), "path": str(measured.execution.path)}

    def _not_measured(self, target: str, why: str, advice: str, out: Console) -> None:
        self.told.append({"target": target, "error": {"message": why, "advice": advice or None}})
        self._print(out, f"{target}: not measured: {why}")
        if advice:
            self._print(out, f"  advice: {advice}")

    def _print(self, out: Console, line: str) -> None:
        from rich.text import Text

        from .render import printable, unheard

        if not self.quiet:
            with unheard():
                out.print(Text(printable(line)))

    def _say(self, line: str) -> None:
        from .render import printable

        if not self.quiet:
            click.echo(printable(line), err=True)

    # ---- --fix

    def fix(self, before: Measured, out: Console) -> None:
        """The second round, with what can be set now; targets that take the same knobs side by side."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for name, found in before.found.items():
            knobs = self._knobs(found, before.facts[name], out)
            if knobs:
                groups.setdefault(knobs, []).append(name)
        for knobs, names in groups.items():
            if before.outcome.signum is not None or any(code > 128 for code in self.codes):
                return
            self._print(out, "")
            after = self._round({name: self._chosen[name] for name in names}, knobs)
            for name in names:
                self._compare(before, after, name, knobs, out)

    def _knobs(self, found: Diagnosis, facts: Mapping[str, Any], out: Console) -> tuple[str, ...]:
        from ..report.diagnosis import boots_line
        from ..stats.diagnosis import fixable

        name, knobs = found.target, fixable(found, facts)
        why = None
        if not knobs:
            why = "nothing to fix: no knob that is not set would help against what was found"
        elif not (facts.get("privileges") or {}).get("root"):
            why = f"cannot fix without root (become: sudo): {', '.join(knobs)} would be set"
            self.codes.append(3)
        if why is None:
            return knobs
        self.fixed.append({"target": name, "tune": [], "error": {"message": why, "advice": None}})
        self._print(out, f"{name}: {why}")
        if line := boots_line(found):
            self._print(out, f"  what needs a boot, in the inventory: {line}")
        return ()

    def _compare(self, before: Measured, after: Measured, name: str, knobs: tuple[str, ...], out: Console) -> None:
        from ..report.diagnosis import boots_line, changes_json, print_changes, tune_line
        from .render import unheard

        first, second = before.found[name], after.found.get(name)
        left = self._left(name, knobs, before)
        if second is None:
            why, advice = after.lacking.get(name, ("not measured again", ""))
            self.fixed.append(
                {"target": name, "tune": list(knobs), "error": {"message": why, "advice": advice or None}}
            )
            self._print(out, f"{name}: not measured again: {why}")
            return
        refused = {
            knob: str(outcome.get("reason") or outcome.get("errno"))
            for knob, outcome in second.knobs.items()
            if knob in knobs and not outcome.get("ok")
        }
        self.fixed.append(
            {
                "target": name,
                "tune": list(knobs),
                "refused": refused,
                "left": left,
                "before": {"path": str(before.execution.path), "stolen_ns_per_s": first.per_s(first.stolen_ns)},
                "after": {"path": str(after.execution.path), "stolen_ns_per_s": second.per_s(second.stolen_ns)},
                "changes": changes_json(first, second),
                "boots": boots_line(first) or None,
            }
        )
        self._print(out, f"{name}: before, and with {tune_line(knobs)} ({_NO_VERDICT})")
        if not self.quiet:
            with unheard():
                print_changes(first, second, out)
        for knob, why in refused.items():
            self._print(out, f"  {knob}: not in effect: {why}")
        if second.state != "valid":
            self._print(out, f"  afterwards {second.state}: {'; '.join(second.reasons)}")
        if left:
            self._print(out, f"  NOT as it was found: {', '.join(left)} (isolbench restore {name})")
        else:
            self._print(out, "  all of it was put back as it was found")
        self._print(out, f"  to keep it, in a campaign: {tune_line(knobs)}")
        if line := boots_line(first):
            self._print(out, f"  what needs a boot, in the inventory: {line}")
        self._say(str(after.execution.path))

    def _left(self, name: str, knobs: Sequence[str], before: Measured) -> list[str]:
        """The knobs that do not read as they did before: the target is asked once more."""
        from ..errors import IsolbenchError
        from ..target.session import open_session

        shown = before.facts[name].get("knobs") or {}
        try:
            with open_session(self.known.targets[name], f"doctor/{name}") as session:
                now = session.welcome["facts"].get("knobs") or {}
        except IsolbenchError as error:
            self.codes.append(error.exit_code)
            return [f"not known: {error}"]
        left = [knob for knob in knobs if (now.get(knob) or {}).get("value") != (shown.get(knob) or {}).get("value")]
        self.codes += [3] if left else []
        return left


def _raise(found: Diagnosis, measured: Measured) -> str:
    """What would raise the level of attribution there."""
    from ..advice.attribution import TRACEPOINTS, forecast

    return "" if found.level == TRACEPOINTS else forecast(measured.facts[found.target]).advice
