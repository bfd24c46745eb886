# SPDX-License-Identifier: Apache-2.0
"""``doctor --fix``: does it help to set what can be set now? Nothing stays set: a campaign keeps it, by ``tune``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from ..campaign.diagnosis import Measured
    from ..stats.diagnosis import Diagnosis
    from .doctor_measure import Examination

_NO_VERDICT = "one run each: for a verdict repeat both in a campaign"


def fix(examined: Examination, before: Measured, out: Console) -> list[dict[str, Any]]:
    """The second round, targets that take the same knobs side by side. What came of it, by target, for ``--json``."""
    told: list[dict[str, Any]] = []
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, found in before.found.items():
        knobs, why = _knobs(found, before.facts[name])
        if why is None:
            groups.setdefault(knobs, []).append(name)
            continue
        if knobs:
            examined.codes.append(3)
        told.append(_error(name, (), why))
        examined.print(out, f"{name}: {why}")
        examined.print_boots(found, out)
    for knobs, names in groups.items():
        if any(code > 128 for code in examined.codes):  # a signal ended a round
            break
        examined.print(out, "")
        after = examined.round({name: examined.chosen[name] for name in names}, knobs)
        told += [_compared(examined, before, after, name, knobs, out) for name in names]
    return told


def _knobs(found: Diagnosis, facts: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """What to set, and why not."""
    from ..advice.state import get
    from ..stats.diagnosis import fixable

    knobs = fixable(found)
    if not knobs:
        return knobs, "nothing to fix: no knob that is not set would help against what was found"
    if not get(facts, "privileges", "root"):
        return knobs, f"cannot fix without root (become: sudo): {', '.join(knobs)} would be set"
    return knobs, None


def _error(name: str, knobs: Sequence[str], why: str, advice: str = "") -> dict[str, Any]:
    return {"target": name, "tune": list(knobs), "error": {"message": why, "advice": advice or None}}


def _compared(
    examined: Examination, before: Measured, after: Measured, name: str, knobs: tuple[str, ...], out: Console
) -> dict[str, Any]:
    from ..report.diagnosis import boots_line
    from ..report.diagnosis_json import changes_json

    first, second = before.found[name], after.found.get(name)
    left = _left(examined, name, knobs, before.facts[name])
    if second is None:
        why, advice = after.lacking.get(name, ("", ""))
        examined.print_why_not(f"{name}: not measured again: {why}", advice, out)
        return {**_error(name, knobs, why, advice), "left": left}
    refused = {
        knob: str(outcome.get("reason") or outcome.get("errno"))
        for knob, outcome in second.knobs.items()
        if knob in knobs and not outcome.get("ok")
    }
    if not examined.quiet:
        _print(first, second, knobs, _afterwards(name, refused, left), out)
        examined.print_boots(first, out)
    examined.say(str(after.execution.path))
    return {
        "target": name,
        "tune": list(knobs),
        "refused": refused,
        "left": left,
        "before": {"path": str(before.execution.path), "stolen_ns_per_s": first.per_s(first.stolen_ns)},
        "after": {"path": str(after.execution.path), "stolen_ns_per_s": second.per_s(second.stolen_ns)},
        "changes": changes_json(first, second),
        "boots": boots_line(first) or None,
    }


def _left(examined: Examination, name: str, knobs: Sequence[str], facts: Mapping[str, Any]) -> list[str]:
    """The knobs that do not read as they did before: the target is asked once more."""
    from ..advice.state import get
    from ..errors import IsolbenchError
    from ..target.session import open_session

    try:
        with open_session(examined.known.targets[name], f"doctor/{name}") as session:
            now = session.welcome["facts"]
    except IsolbenchError as error:
        examined.codes.append(error.exit_code)
        return [f"not known: {error}"]
    left = [knob for knob in knobs if get(now, "knobs", knob, "value") != get(facts, "knobs", knob, "value")]
    examined.codes += [3] if left else []
    return left


def _afterwards(target: str, refused: Mapping[str, str], left: Sequence[str]) -> list[str]:
    """What came of the knobs."""
    from ..report.grouping import compact

    lines = [f"{knob}: not in effect: {compact(why)}" for knob, why in refused.items()]
    if left:
        return [*lines, f"NOT as it was found: {', '.join(left)} (isolbench restore {target})"]
    return [*lines, "all of it was put back as it was found"]


def _print(first: Diagnosis, second: Diagnosis, knobs: Sequence[str], lines: Sequence[str], out: Console) -> None:
    from rich.text import Text

    from ..report.diagnosis import print_changes, print_line, print_reasons, print_to_copy, tune_line
    from .render import printable, unheard

    with unheard():
        head = f"{first.target}: before, and with {tune_line(knobs)} ({_NO_VERDICT})"
        out.print(Text(printable(head), style="bold"))
        print_changes(first, second, out)
        if second.state != "valid":
            print_reasons(f"with them {second.state}", second.reasons, out)
        for line in lines:
            print_line(line, out)
        print_to_copy("to keep it, in a campaign", tune_line(knobs), out)
