# SPDX-License-Identifier: Apache-2.0
"""``sensitivity.json`` on a terminal or in a pipe: by target and kind what was found, and what that proves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ..store.sensitivity import percent
from .layout import Column, advice, heading, item, line, plain, table
from .units import plural

_COLUMNS = (
    Column("kind"),
    Column("made", right=True),
    Column("effective", right=True),
    Column("found", right=True),
    Column("of", right=True),
    Column("at least", right=True),
    Column("named", right=True, group=1),
    Column("false", right=True, group=1),
    Column("right at least", right=True, group=1),
    Column("bar", group=2),
)
_LEGEND = (
    "effective: the task ran at that instant; found: its gap names it, of so many that count; named: gaps that name "
    "the kind, and false those without one; at least: bounds of the share found, and of the share rightly named"
)
_VERDICTS = {
    "met": ("met", "green"),
    "too few": ("not shown", "yellow"),
    "below": ("BELOW", "red"),
    "nothing": ("not seen", "yellow"),
}


def print_sensitivity(document: Mapping[str, Any], console: Console) -> None:
    """``document``: as it is kept."""
    bar, confidence = percent(document["bar"]), document["confidence"]
    line(
        console,
        f"sensitivity {document['execution']}: bar {bar}, each bound one-sided with {100 * confidence:.0f} %",
        "bold",
    )
    for name, entry in document["targets"].items():
        console.print()
        _target(name, entry, bar, console)
    if any(entry["kinds"] for entry in document["targets"].values()):
        console.print()
        line(console, _LEGEND, "dim")


def _target(name: str, entry: Mapping[str, Any], bar: str, console: Console) -> None:
    identity = entry["identity"]
    about = [str(identity[key]) for key in ("kernel_release", "arch") if identity.get(key)]
    about += [f"level {entry['level']}"] if entry["runs"]["scored"] else []
    line(console, f"{name}: {' · '.join(about)}" if about else name, "bold")
    for text, style in _answer(entry["kinds"], bar):
        line(console, text, style, indent=2)
    if entry["runs"]["finished"] or not entry["reason"]:
        line(console, _runs(entry["runs"]), indent=2)
    if entry["level_reason"]:
        item(console, "not more", entry["level_reason"], indent=2)
    if entry["reason"]:
        item(console, "nothing was measured", entry["reason"], indent=2)
    if entry["advice"]:
        advice(console, entry["advice"], indent=4)
    table(console, _COLUMNS, [_row(kind) for kind in entry["kinds"]])
    _missed(entry, console)
    _chance(entry, console)
    if entry["unavailable"]:
        heading(console, "not available here")
        for kind, why in entry["unavailable"].items():
            item(console, kind, why)


def _answer(kinds: Sequence[Mapping[str, Any]], bar: str) -> Iterable[tuple[str, str]]:
    """What it comes to, with a style: the worst first."""
    seen = [kind for kind in kinds if not kind["blind"]]
    for verdict, what in (
        ("below", f"BELOW the bar of {bar}"),
        ("too few", f"the bar of {bar} is not shown, nor that it is missed"),
        ("nothing", "nothing of it was effective"),
    ):
        if names := [kind["kind"] for kind in seen if kind["verdict"] == verdict]:
            yield f"{what}: {', '.join(names)}", _VERDICTS[verdict][1]
    met = [kind for kind in seen if kind["verdict"] == "met"]
    if met:
        right = min((kind["precision"] for kind in met if kind["precise"]), default=None)
        rightly = "" if right is None else f", named rightly in at least {percent(right)}"
        whose = ": each kind that can be seen is" if met == seen else f" by {plural(len(met), 'kind')}:"
        found = percent(min(kind["recall"] for kind in met))
        yield f"the bar of {bar} is met{whose} found in at least {found} of cases{rightly}", "green"


def _runs(runs: Mapping[str, int]) -> str:
    finished, scored, complete = (runs[key] for key in ("finished", "scored", "complete"))
    text = plural(finished, "run")
    if scored < finished:
        text += f", {scored} of them usable"
    if not scored:
        return text
    if complete == scored:
        return f"{text}; by the kernel's counts no event is missing"
    return f"{text}; events are missing in {scored - complete}: what the kernel did not tell of counts as missed"


def _row(kind: Mapping[str, Any]) -> list[Text]:
    word, style = _VERDICTS[kind["verdict"]]
    judged = not kind["blind"]
    precise = judged and kind["precise"]
    found, of = kind["trials"]
    return [
        plain(kind["kind"]),
        plain(f"{kind['made']:,}"),
        plain(f"{kind['effective']:,}" if judged else "-"),
        plain(f"{found:,}" if judged else "-"),
        plain(f"{of:,}" if judged else "-"),
        plain(percent(kind["recall"]) if judged else "-"),
        plain(f"{kind['named']:,}" if precise else "-"),
        plain(f"{kind['false']:,}" if precise else "-"),
        plain(percent(kind["precision"]) if precise else "-"),
        plain(word, style),
    ]


def _missed(entry: Mapping[str, Any], console: Console) -> None:
    """What the missed ones were called instead."""
    missed = [kind for kind in entry["kinds"] if kind["called"]]
    if missed:
        heading(console, "missed, and what the gap was called instead")
    for kind in missed:
        item(console, kind["kind"], ", ".join(f"{what} ({count:,})" for what, count in kind["called"].items()))


def _chance(entry: Mapping[str, Any], console: Console) -> None:
    """Where the kernel does not say who sent an interrupt."""
    kinds = [kind for kind in entry["kinds"] if not kind["precise"] and not kind["blind"]]
    if kinds:
        heading(
            console, "this kernel does not say who sends these; taken for found at instants at which nothing was done"
        )
    for kind in kinds:
        most = "" if kind["by_chance"] is None else f", at most {100 * kind['by_chance']:.2f} %"
        item(console, kind["kind"], f"{kind['chance']:,} of {kind['shams']:,}{most}")
