# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file that needs nothing else, opens offline, and is the same bytes for the same execution.

All text goes through jinja's autoescape (and :func:`~harness.report.units.printable`), the data through its ``tojson``,
which escapes what could end a script. The page's own style and scripts are named by hash in its Content Security
Policy, so that nothing else runs in it and nothing is fetched, whatever a target managed to call itself.

Without scripts, as mail programs and CI servers show it, the tables say all that the plots do.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from ..stats.budgets import FAILED, NOT_JUDGED, PASSED
from ..stats.quantiles import QUANTILES, Spread, samples_needed
from ..store.files import BrokenResult, write_file
from ..store.runs import attempt_dirs, load_attempt
from . import cause_plots, cause_view, curves, grouping, remedies, runtable, units, words
from . import causes as told
from .figures import SLOTS, Figure, by_boot, figures_of, side_by_side
from .model import build_view
from .modes import MEASURED
from .rundata import COLUMNS, RunCollection
from .tables import SHOWN
from .view import STATES, ModeView, Section, TargetView, View

#: Reasons, attempts and unsupported cells listed at length; the rest is counted.
LISTED = 200
#: The page's own scripts, in this order, as one; that of kernels is for campaigns that boot.
_SCRIPTS = ("base.js", "plots.js", "lines.js", "events.js", "figures.js", "kernels.js", "details.js", "runs.js")
_HEAT_STEPS = 7
#: Verdicts on budgets in the order of their table: what asks for something comes first, and is never left out.
_FIRST = {FAILED: 0, NOT_JUDGED: 1, PASSED: 2}


@dataclass(frozen=True)
class TargetFigures:
    target: TargetView
    figures: Sequence[Figure]


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
    runs = RunCollection()
    view = build_view(execution_dir, runs.add)
    for folder in attempt_dirs(execution_dir):
        try:
            runs.add_attempt(folder, load_attempt(folder))
        except BrokenResult:
            continue  # the view has named it
    return page(view, runs)


def page(view: View, runs: RunCollection) -> str:
    style = _resource("vendor", "uPlot.min.css") + "\n" + _resource("templates", "report.css")
    style += _resource("templates", "kernels.css") if view.boots else ""
    library = _resource("vendor", "uPlot.iife.min.js")
    parts = [name for name in _SCRIPTS if view.boots or name != "kernels.js"]
    script = '"use strict";\n(() => {\n' + "\n".join(_resource("templates", name) for name in parts) + "})();\n"
    figures = figures_of(view, runs)
    caused = cause_view.of(view, runs)
    style += _resource("templates", "causes.css") if caused else ""
    budgets = sorted(view.budgets, key=lambda verdict: _FIRST[verdict.result])
    unkept = [verdict for verdict in budgets if verdict.result != PASSED]
    targets = [TargetFigures(target, figures[target.name]) for target in view.targets]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            view=view,
            targets=targets,
            glance=[] if view.boots else _glance(view, targets),
            by_boot=by_boot(view, figures) if view.boots else [],
            boots=words.boots,
            took=words.took,
            ratio=words.ratio,
            boot_failures=words.boot_failures,
            slots={name: place % SLOTS for place, name in enumerate(view.modes)},
            warnings=[*view.warnings, *runs.warnings],
            totals=words.totals(view),
            bar=_bar(view),
            headlines=headlines(view),
            words=words.of(view),
            counted=" or ".join(dict.fromkeys(s.events for t in view.targets for s in t.sections if s.events)),
            missed=words.missed,
            measured=MEASURED,
            quantiles=SHOWN,
            findings={
                each.target.name: grouping.findings(each.target.sections, each.target.unsupported) for each in targets
            },
            without_valid={each.target.name: grouping.without_valid(each.target.sections) for each in targets},
            missing=_missing(view),
            failures=grouping.failures(view.attempts),
            needed={name: f"{samples_needed(name):,}" for name in QUANTILES},
            listed=LISTED,
            bare=words.bare,
            caused={
                figure.key: caused[cause_view.key(figure.section)]
                for each in targets
                for figure in each.figures
                if figure.section.role == MEASURED and cause_view.key(figure.section) in caused
            },
            compared_causes=cause_view.compared,
            class_words=cause_view.CLASS_WORDS,
            axis_words=cause_view.axis_words,
            label_of=told.label_of,
            percent=told.percent,
            per_second=told.per_second,
            rate=told.rate,
            change=told.change,
            effect=remedies.effect,
            documentation=remedies.documentation,
            height=cause_plots.HEIGHT,
            bar_height=cause_plots.BAR_HEIGHT,
            at_most=words.at_most,
            is_now=words.is_now,
            unkept=unkept,
            budgets=budgets,
            listed_budgets=max(LISTED, len(unkept)),
            verdicts={PASSED: "valid", FAILED: "invalid", NOT_JUDGED: "suspect"},
            beside=[] if view.boots and len(targets) == 1 else side_by_side(view, figures),
            about={
                "grid": [round(nines, 6) for nines in curves.GRID],
                "execution": units.printable(f"{view.campaign}/{view.execution}"),
                "columns": COLUMNS,
            },
            table=runtable.table(view, runs),
            details=runtable.details(runs, view.path),
            hidden=runtable.hidden(runs.rows),
            chips=[(state, number) for state, number in runtable.states(runs) if number],
            style=Markup(style),  # noqa: S704 - our own files
            library=Markup(library),  # noqa: S704
            script=Markup(script),  # noqa: S704
            policy=f"default-src 'none'; style-src '{_hash(style)}'; "
            f"script-src '{_hash(library)}' '{_hash(script)}'; base-uri 'none'; form-action 'none'",
        )
    )


def headlines(view: View) -> list[str]:
    """What was measured, in sentences: numbers of this execution, no judgement of significance."""
    sentences = []
    every = [mode for target in view.targets for section in target.sections for mode in section.modes if mode.basis]
    mixed = any(mode.basis == "valid" for mode in every)
    for target in view.targets:
        for section in target.sections if not view.boots else ():  # the comparison says them all, side by side
            known = [mode for mode in section.modes if mode.maximum is not None]
            if not known:
                continue
            ordered = sorted(known, key=lambda mode: mode.maximum.high if mode.maximum else 0.0)
            parts = [
                f"{_time(mode.maximum.high)} under {mode.name}{_beside(section, mode, mixed)}"
                for mode in ordered
                if mode.maximum
            ]
            where = f"{target.name}, {section.title}, load {section.load}"
            sentences.append(f"{where}: the longest {section.sample} was {units.series(parts)}.")
        for section in target.sections:
            if taken := cause_view.headline(target, section):
                sentences.append(taken)
        if target.virtual is not None:
            text = f"{target.name} is a virtual machine ({target.virtual}): its figures include what the host took."
            if view.boots:
                text += " Compare kernels there by counts, not by latencies."
            sentences.append(text)
    if every and not mixed:
        sentences.append("No run is valid: all of these are of suspect runs.")
    return sentences


def _beside(section: Section, mode: ModeView, mixed: bool) -> str:
    """`` (0.7 % stolen, suspect runs only)``: what a longest value does not tell. Shares of the time, as per cent."""
    median = "median " if len(mode.used) > 1 else ""
    parts = [
        f"{median}{units.three_digits(mode.scalars[each.metric].median / 1e4)} % {each.label}"
        for each in section.scalars
        if each.unit == "ppm" and each.metric in mode.scalars
    ]
    if mixed and mode.basis != "valid":
        parts.append("suspect runs only")
    return f" ({', '.join(parts)})" if parts else ""


def _glance(view: View, targets: Sequence[TargetFigures]) -> list[Glance]:
    worst: dict[str, list[float]] = {}  # by metric: an interval is no wake-up
    measured = {each.target.name: [f for f in each.figures if f.section.role == MEASURED] for each in targets}
    for each in targets:
        for figure in measured[each.target.name]:
            known = [mode.maximum.high for mode in figure.section.modes if mode.maximum is not None]
            worst.setdefault(figure.section.metric, []).extend(math.log10(max(1.0, value)) for value in known)
    rows = []
    for each in targets:
        for figure in measured[each.target.name]:
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
        loader=jinja2.FunctionLoader(lambda name: _resource("templates", name)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters.update(
        p=units.printable,
        key=cause_view.key_of,
        ns=_time,
        quantity=_quantity,
        spread=_spread,
        plural=units.plural,
        threshold=_threshold,
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


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _resource(folder: str, name: str) -> str:
    return files(__package__).joinpath(folder, name).read_text(encoding="utf-8")
