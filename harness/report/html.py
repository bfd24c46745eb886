# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file that needs nothing else, opens offline, and is the same bytes for the same execution.

All text goes through jinja's autoescape (and :func:`~harness.report.units.printable`), the numbers for hovering through
its ``tojson``, which escapes what could end a script. The page's own style and script are named by hash in its Content
Security Policy, so that nothing else runs in it and nothing is fetched, whatever a target managed to call itself.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ..stats.budgets import FAILED, NOT_JUDGED, PASSED
from ..stats.quantiles import QUANTILES, Spread, samples_needed
from ..store import hdr
from ..store.files import BrokenResult, write_file
from ..store.hdr import Counts
from ..store.hlog import find_interval, tag_of
from . import chart, grouping, units, words
from .model import build_view
from .terminal import SHOWN, at_most, bare, totals
from .view import STATES, ModeView, RunView, Section, TargetView, View

#: Colours of the style sheet; further modes share them.
SLOTS = 8
#: Single runs drawn behind the merged curves of one plot, over all its modes.
LIGHT_LINES = 24
#: Reasons, attempts and unsupported cells listed at length; the rest is counted.
LISTED = 200
_HEAT_STEPS = 7
#: Verdicts on budgets in the order of their table: what asks for something comes first, and is never left out.
_FIRST = {FAILED: 0, NOT_JUDGED: 1, PASSED: 2}


@dataclass(frozen=True)
class Figure:
    """A section with its plot in two sizes and what hovering needs. ``drawn`` of ``runs`` single runs are drawn."""

    key: str
    section: Section
    wide: chart.Chart | None
    narrow: chart.Chart | None
    hover: Mapping[str, object]
    drawn: int
    runs: int


@dataclass(frozen=True)
class TargetFigures:
    target: TargetView
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Glance:
    """One row of the table at the top: a target, bench and load, and what each mode of the report did there."""

    target: str
    key: str
    section: Section
    modes: tuple[tuple[ModeView | None, int, bool], ...]  # view, heat 0..6, whether it is unsupported


def write_report(execution_dir: Path, out: Path) -> None:
    """Write the report of an execution, finished or not, to the file ``out``, atomically.

    Raises :class:`~harness.errors.UserError` when ``execution_dir`` is none, :class:`~harness.errors.StorageFull`.
    """
    write_file(Path(out), render(Path(execution_dir)).encode("utf-8"))


def render(execution_dir: Path) -> str:
    """The page's text."""
    view = build_view(execution_dir)
    warnings: list[str] = list(view.warnings)
    slots = {name: place % SLOTS for place, name in enumerate(view.modes)}
    scales = _scales(view)
    targets = []
    number = 0
    for target in view.targets:
        figures = []
        for section in target.sections:
            number += 1
            figures.append(_figure(f"f{number}", section, slots, scales[section.metric], warnings))
        targets.append(TargetFigures(target, tuple(figures)))
    return page(view, targets, slots, warnings)


def page(view: View, targets: Sequence[TargetFigures], slots: Mapping[str, int], warnings: Sequence[str]) -> str:
    style, script = (_resource(name) for name in ("report.css", "report.js"))
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            view=view,
            targets=targets,
            glance=_glance(view, targets),
            slots=slots,
            warnings=warnings,
            totals=totals(view),
            bar=_bar(view),
            headlines=headlines(view),
            words=words.of(view),
            counted=" or ".join(dict.fromkeys(s.events for t in view.targets for s in t.sections if s.events)),
            missed=words.missed,
            quantiles=SHOWN,
            findings={
                each.target.name: grouping.findings(each.target.sections, each.target.unsupported) for each in targets
            },
            without_valid={each.target.name: grouping.without_valid(each.target.sections) for each in targets},
            missing=_missing(view),
            failures=grouping.failures(view.attempts),
            needed={name: f"{samples_needed(name):,}" for name in QUANTILES},
            listed=LISTED,
            bare=bare,
            at_most=at_most,
            budgets=sorted(view.budgets, key=lambda verdict: _FIRST[verdict.result]),
            listed_budgets=max(LISTED, sum(verdict.result != PASSED for verdict in view.budgets)),
            verdicts={PASSED: "valid", FAILED: "invalid", NOT_JUDGED: "suspect"},
            style=Markup(style),  # noqa: S704 - our own files
            script=Markup(script),  # noqa: S704
            policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
            "base-uri 'none'; form-action 'none'",
        )
    )


def headlines(view: View) -> list[str]:
    """What was measured, in sentences: numbers of this execution, no judgement of significance."""
    sentences = []
    for target in view.targets:
        for section in target.sections:
            known = [mode for mode in section.modes if mode.maximum is not None]
            if not known:
                continue
            ordered = sorted(known, key=lambda mode: mode.maximum.high if mode.maximum else 0.0)
            parts = [
                f"{_time(mode.maximum.high)} under {mode.name}{'' if mode.basis == 'valid' else ' (suspect runs only)'}"
                for mode in ordered
                if mode.maximum
            ]
            where = f"{target.name}, {section.title}, load {section.load}"
            sentences.append(f"{where}: the longest {section.sample} was {_series(parts)}.")
        if target.virtual is not None:
            text = f"{target.name} is a virtual machine ({target.virtual}): its figures include what the host took."
            sentences.append(text)
    return sentences


def _figure(key: str, section: Section, slots: Mapping[str, int], scale: chart.Scale, warnings: list[str]) -> Figure:
    curves = []
    drawable = [mode for mode in section.modes if mode.used]
    per_mode = max(1, LIGHT_LINES // max(1, len(drawable)))
    drawn = 0
    for mode in drawable:
        merged, light = _read(mode, section.metric, per_mode if len(mode.used) > 1 else 0, warnings)
        if merged.total == 0:
            continue
        exact = int(mode.maximum.high) if mode.maximum else int(merged.geometry.bounds[1][-1])
        drawn += len(light)
        curves.append(chart.Curve(mode.name, slots[mode.name], merged, exact, light, mode.basis != "valid"))
    runs = sum(len(mode.used) for mode in section.modes)
    if not curves or section.unit != "ns":
        return Figure(key, section, None, None, {}, 0, runs)
    line: dict[str, Any] = {"threshold_ns": section.threshold_ns, "events": section.events}
    wide = chart.draw(curves, scale, width=960, height=400, **line)
    narrow = chart.draw(curves, scale, width=380, height=300, **line, narrow=True)
    return Figure(key, section, wide, narrow, chart.hover(curves, scale), drawn, runs)


def _read(mode: ModeView, metric: str, light: int, warnings: list[str]) -> tuple[Counts, list[tuple[Counts, int]]]:
    """The histograms of a mode's used runs, merged, and some of them singly, spread evenly over the runs."""
    used = mode.used
    step = max(1, math.ceil(len(used) / light)) if light else 0
    payloads: list[bytes] = []
    single: list[tuple[Counts, int]] = []
    for place, run in enumerate(used):
        try:
            own = [find_interval(run.path / "histograms.hlog", tag_of(metric, cpu)).payload for cpu in run.cpus]
            counts = hdr.merge(own)  # decoded at once: a damaged one is left out here, and named
        except BrokenResult as error:
            warnings.append(str(error))
            continue
        payloads.extend(own)
        if step and place % step == 0 and counts.total:
            single.append((counts, run.max if run.max is not None else int(counts.geometry.bounds[1][-1])))
    try:
        return hdr.merge(payloads), single
    except BrokenResult as error:  # runs of two geometries
        warnings.append(f"{mode.cell}: {error}")
        return hdr.merge([]), single


def _scales(view: View) -> dict[str, chart.Scale]:
    """One scale for each metric: plots of one report can be compared by eye."""
    extents: dict[str, list[tuple[int, int, int]]] = {}
    for target in view.targets:
        for section in target.sections:
            for mode in section.modes:
                total = sum(run.recorded * max(1, len(run.cpus)) for run in mode.used)
                ends = [_ends(run) for run in mode.used]
                extents.setdefault(section.metric, []).extend((low, high, total) for low, high in ends)
    return {
        section.metric: chart.scale_of(extents.get(section.metric, []))
        for target in view.targets
        for section in target.sections
    }


def _ends(run: RunView) -> tuple[int, int]:
    """The values that a plot must reach. A clock that steps makes some intervals 0: not worth two decades of paper."""
    middle = run.quantiles.get("p50") or 1
    low = max(run.min or 0, middle * 2 // 3, 1)
    return low, run.max if run.max is not None else max(10, low)


def _glance(view: View, targets: Sequence[TargetFigures]) -> list[Glance]:
    worst: dict[str, list[float]] = {}  # by metric: an interval is no wake-up
    for each in targets:
        for figure in each.figures:
            known = [mode.maximum.high for mode in figure.section.modes if mode.maximum is not None]
            worst.setdefault(figure.section.metric, []).extend(math.log10(max(1.0, value)) for value in known)
    rows = []
    for each in targets:
        for figure in each.figures:
            section = figure.section
            by_name = {mode.name: mode for mode in section.modes}
            why = {entry.mode for entry in section.unsupported}
            cells = []
            low, high = min(worst[section.metric], default=0.0), max(worst[section.metric], default=0.0)
            for name in view.modes:
                mode = by_name.get(name)
                heat = 0
                if mode and mode.maximum:
                    share = (math.log10(max(1.0, mode.maximum.high)) - low) / max(
                        1.0, high - low
                    )  # a difference of a few per cent is no alarm
                    heat = min(_HEAT_STEPS - 1, int(share * _HEAT_STEPS))
                cells.append((mode, heat, name in why))
            rows.append(Glance(each.target.name, figure.key, section, tuple(cells)))
    return rows


def _missing(view: View) -> tuple[grouping.Missing, ...]:
    every = {target.name: grouping.universe_of(target.sections, target.unsupported) for target in view.targets}
    return grouping.missing(view.unsupported, every)


def _bar(view: View) -> list[tuple[str, float, float, int]]:
    """(what, start, length, number) for a bar of all runs, in SVG units of 1000."""
    planned = view.planned if view.planned is not None else view.finished
    parts = [(state, view.states.get(state, 0)) for state in STATES]
    parts.append(("missing", max(0, planned - view.finished)))
    total = sum(number for _, number in parts)
    bar, start = [], 0.0
    for what, number in parts:
        if number:
            length = 1000 * number / total
            bar.append((what, round(start, 2), round(length, 2), number))
            start += length
    return bar


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"report.html.j2": _resource("report.html.j2")}),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        p=units.printable, ns=_time, quantity=_quantity, spread=_spread, plural=units.plural, threshold=_threshold
    )
    return environment


def _time(value: float | None) -> str:
    return units.duration(value)


def _quantity(value: float | None, unit: str) -> str:
    return units.quantity(value, unit)


def _threshold(value: int | None) -> str:
    return "the threshold" if value is None else units.setting(value)


def _spread(value: Spread, unit: str) -> str:
    """The range, when there is one to show."""
    low, high = _quantity(value.low, unit), _quantity(value.high, unit)
    return "" if low == high else f"{low} – {high}"


def _series(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _resource(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
