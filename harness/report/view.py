# SPDX-License-Identifier: Apache-2.0
"""The types of the view that all reports show: frozen, without I/O. :mod:`.model` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..advice import Remedy
from ..stats.budgets import Verdict
from ..stats.causes import Causes
from ..stats.quantiles import Spread, rate_upper
from .kernel_view import Booted, BootedView, KernelView

STATES = ("valid", "suspect", "invalid")


@dataclass(frozen=True)
class Reason:
    """Why runs are suspect or invalid; ``runs`` of the mode have it."""

    state: str
    rule: str
    text: str
    advice: str
    runs: int


@dataclass(frozen=True)
class QuantileView:
    """A quantile over runs (ns). ``enough``: even the smallest run has the samples to bound it."""

    name: str
    spread: Spread | None
    enough: bool


@dataclass(frozen=True)
class RunView:
    """One run, as far as reports need it without opening its histogram."""

    path: Path
    name: str
    repeat: int
    state: str
    cpus: tuple[int | None, ...]
    recorded: int
    samples: int  # what the quantiles are of, missed periods among them
    overflow: int
    missed: int  # periods that gave no value, of all CPUs
    left_out: int  # periods that had a value which the probe kept out of the histogram
    periods: int  # all of them, of all CPUs
    duration_s: float
    quantiles: Mapping[str, float | None]  # infinite where one lies among missed periods
    min: int | None
    max: int | None
    scalars: Mapping[str, float]
    events: int | None  # over the threshold: gaps, late wake-ups
    reasons: tuple[Mapping[str, str], ...]
    own_cost_ns: float | None
    granularity_ns: float | None
    #: Quantiles and max, where several were measured.
    by_cpu: Mapping[int, Mapping[str, float | None]] = field(default_factory=dict)
    interrupts: int | None = None  # that came to the measured CPU (of several: the one with most) meanwhile


@dataclass(frozen=True)
class CpuView:
    """One of several measured CPUs, over the runs that the numbers of its mode are of."""

    cpu: int
    quantiles: tuple[QuantileView, ...]
    maximum: Spread | None

    def quantile(self, name: str) -> QuantileView | None:
        return next((each for each in self.quantiles if each.name == name), None)


@dataclass(frozen=True)
class ModeView:
    """A cell: one mode under one load on one target. ``basis`` says which runs the numbers are of, if any."""

    name: str
    detail: str
    cell: str
    planned: int | None
    runs: tuple[RunView, ...]
    failed: int
    basis: str | None
    quantiles: tuple[QuantileView, ...]
    maximum: Spread | None
    scalars: Mapping[str, Spread]
    rate: Spread | None  # events over the threshold, per second
    events: int | None
    observed_s: float
    reasons: tuple[Reason, ...]
    cpus: tuple[CpuView, ...] = ()  # where several were measured; the other numbers are of the worst of each run
    causes: Causes | None = None  # of the same runs, all CPUs; where attribution was asked for

    def number(self, state: str) -> int:
        return sum(run.state == state for run in self.runs)

    @property
    def used(self) -> tuple[RunView, ...]:
        """The runs that the numbers are of."""
        return tuple(run for run in self.runs if run.state == self.basis)

    @property
    def missed(self) -> int:
        """Periods without a value in the runs that the numbers are of: the quantiles count each as later than any."""
        return sum(run.missed for run in self.used)

    @property
    def left_out(self) -> int:
        return sum(run.left_out for run in self.used)

    @property
    def periods(self) -> int:
        return sum(run.periods for run in self.used)

    @property
    def rate_upper_hz(self) -> float | None:
        """When no event was seen in any run: the one-sided 95 % upper bound of their rate, of all the time observed."""
        return rate_upper(0, self.observed_s) if self.events == 0 and self.observed_s > 0 else None

    def quantile(self, name: str) -> QuantileView | None:
        return next((each for each in self.quantiles if each.name == name), None)


@dataclass(frozen=True)
class Unsupported:
    """A cell that the target cannot do, and why: no pass, no failure. ``bench`` is the section's ``title``."""

    target: str
    bench: str
    mode: str
    load: str
    reason: str


@dataclass(frozen=True)
class Attempt:
    """A run that failed."""

    target: str
    run: str
    attempt: int
    fault: str
    reason: str
    advice: str


@dataclass(frozen=True)
class Failure:
    """Why a lane ended early."""

    fault: str
    message: str
    advice: str


@dataclass(frozen=True)
class Scalar:
    """A number per run that tables show beside the quantiles: ``stolen`` is the label of ``stolen_ppm``."""

    metric: str
    label: str
    unit: str


@dataclass(frozen=True)
class Advised:
    """Causes in words, the modes where they took most, and what would take them away."""

    names: tuple[str, ...]
    modes: tuple[str, ...]
    remedies: tuple[Remedy, ...]


@dataclass(frozen=True)
class Section:
    """One target x bench variant x load x metric, with its modes in the order of the plan.

    ``title`` names the bench with what sets it apart from others of the execution: ``gap threshold=5us``.
    ``sample`` says what one value of the metric is of (``interval``, ``wake-up``), ``events`` what the probe counts
    over ``threshold_ns`` (``gaps``, ``late``), ``None`` when it counts nothing. ``role`` is whose numbers they are:
    those of the measured task, or of a control. ``base`` is the title without what was ``booted``.
    """

    target: str
    bench: str
    title: str
    load: str
    metric: str
    unit: str
    gate: str
    modes: tuple[ModeView, ...]
    sample: str
    events: str | None
    threshold_ns: int | None
    scalars: tuple[Scalar, ...]
    duration_ns: int | None
    settle_ns: int | None
    unsupported: tuple[Unsupported, ...]
    role: str = "measured"
    base: str = ""
    booted: Booted = ("default", "plain")
    advised: tuple[Advised, ...] = ()  # what would take away what took most of its time, where that is known

    @property
    def rated(self) -> str | None:
        """``events``, where their rate is one of the bench's metrics."""
        used = [mode for mode in self.modes if mode.basis]
        return self.events if not used or any(mode.rate is not None for mode in used) else None

    @property
    def missed(self) -> bool:
        """Whether any mode missed periods, which a table then says of all of them."""
        return any(mode.missed for mode in self.modes)


@dataclass(frozen=True)
class Number:
    """One number of a compared cell, over its runs. ``ratio``: its median to that of the first column, if both are.

    ``text`` stands in the place of a number that cannot be given.
    """

    label: str
    unit: str
    spread: Spread | None
    ratio: float | None
    text: str = ""


@dataclass(frozen=True)
class ComparedCell:
    """A mode under a load on one of the columns. Without numbers ``why`` says in a word or two why there are none."""

    section: Section | None
    mode: ModeView | None
    numbers: tuple[Number, ...]
    why: str = ""
    reason: str = ""

    def number(self, label: str) -> Number | None:
        return next((each for each in self.numbers if each.label == label), None)


@dataclass(frozen=True)
class ComparedRow:
    mode: str
    load: str
    cells: tuple[ComparedCell, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the numbers that its cells have, each once."""
        return tuple(dict.fromkeys(number.label for cell in self.cells for number in cell.numbers))


@dataclass(frozen=True)
class Comparison:
    """One target x bench x metric: modes and loads as rows, what was booted as ``columns``."""

    target: str
    title: str
    metric: str
    unit: str
    gate: str
    columns: tuple[Booted, ...]
    rows: tuple[ComparedRow, ...]


@dataclass(frozen=True)
class TargetView:
    name: str
    facts: tuple[tuple[str, str], ...]
    virtual: str | None
    metal: bool  # known not to be virtual; before the first contact it is neither
    sections: tuple[Section, ...]
    controls: tuple[Section, ...]  # what ran beside the measured task at the same time: never in its numbers
    unsupported: tuple[Unsupported, ...]
    attempts: tuple[Attempt, ...]
    notes: tuple[str, ...]
    failure: Failure | None
    #: Of a campaign that boots: who its kernels are, what was booted, and how these compare.
    kernels: tuple[KernelView, ...] = ()
    booted: tuple[BootedView, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    power_cycles: int = 0
    #: How much attribution finds on its kernels, by the newest test; empty where nobody asked for causes.
    sensitivity: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """A whole execution. ``planned`` is the number of runs asked for, unsupported cells left out, if a plan says so."""

    path: Path
    campaign: str
    execution: str
    started: str
    version: str
    planned: int | None
    targets: tuple[TargetView, ...]
    modes: tuple[str, ...]
    warnings: tuple[str, ...]
    disabled: tuple[tuple[str, str], ...] = ()
    states: Mapping[str, int] = field(default_factory=dict)
    budgets: tuple[Verdict, ...] = ()
    benches: Mapping[str, Any] = field(default_factory=dict)  # of the plan, by name

    @property
    def finished(self) -> int:
        return sum(self.states.values())

    @property
    def boots(self) -> bool:
        """Whether targets were booted: then the report begins with how kernels and boots compare."""
        return any(target.booted for target in self.targets)

    @property
    def unsupported(self) -> tuple[Unsupported, ...]:
        return tuple(each for target in self.targets for each in target.unsupported)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return tuple(each for target in self.targets for each in target.attempts)
