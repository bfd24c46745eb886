# SPDX-License-Identifier: Apache-2.0
"""The types of what reports say of kernels and boots: who they are, what was booted, how they compare. Frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..stats.quantiles import Spread

if TYPE_CHECKING:
    from .view import ModeView, Section

#: A kernel and a boot profile, by name.
Booted = tuple[str, str]


@dataclass(frozen=True)
class KernelView:
    """Who a kernel is, as its runs and the proofs of its boots say. Texts are empty where nothing is known."""

    name: str
    release: str
    version: str
    preempt: str
    build_id: str
    config_sha256: str
    artefact_sha256: str


@dataclass(frozen=True)
class BootFailure:
    """Boots that failed alike: of these ``sessions``, ``number`` tries; ``given_up`` sessions were not measured."""

    reason: str
    sessions: tuple[int, ...]
    number: int
    given_up: int


@dataclass(frozen=True)
class BootedView:
    """A kernel with a boot profile on a target: a column of its comparisons.

    ``cmdline`` is what was seen, ``added`` and ``removed`` what that has and lacks beside the first column's.
    ``boots`` were proved, of as many ``sessions`` as were asked for; ``took_s`` is how long each took.
    """

    booted: Booted
    cmdline: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    first: bool
    sessions: int
    boots: int
    took_s: tuple[float, ...]
    failures: tuple[BootFailure, ...]

    @property
    def name(self) -> str:
        return " ".join(self.booted)

    @property
    def given_up(self) -> int:
        return sum(each.given_up for each in self.failures)


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
