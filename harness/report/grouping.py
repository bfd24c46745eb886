# SPDX-License-Identifier: Apache-2.0
"""What holds for many cells is said once: reasons, unsupported cells and failed attempts, grouped for people. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from .view import Attempt, Section, Unsupported

#: A mode under a load of a bench: (title, load).
Place = tuple[str, str]

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_CODES = re.compile(r"(?:[0-9]+|default) \([A-Za-z0-9 ]+\)(?:, (?:[0-9]+|default) \([A-Za-z0-9 ]+\))+")
_CODE = re.compile(r"([0-9]+|default) \(([A-Za-z0-9 ]+)\)")
_RANK = {"invalid": 0, "suspect": 1}


@dataclass(frozen=True)
class Finding:
    """A reason and where it held. ``state`` is what it makes of a run; ``runs`` have it."""

    where: str
    state: str
    runs: int
    text: str
    advice: str


@dataclass(frozen=True)
class Missing:
    """Why cells are unsupported: those of one target (``targets`` has one name) or of several alike."""

    targets: tuple[str, ...]
    where: str
    cells: int
    reason: str


@dataclass(frozen=True)
class Failures:
    """Attempts on a target that failed alike. ``example`` is the first attempt's name, ``<run>-a<n>``."""

    target: str
    fault: str
    number: int
    where: str
    reason: str
    advice: str
    example: str


def pattern(text: str) -> str:
    """``text`` without its numbers: texts that differ in nothing else say the same."""
    return _NUMBER.sub("#", text.removeprefix("e.g. "))


def one_of(texts: Sequence[str]) -> str:
    """The text, or, where they differ, one of them as an example."""
    first = texts[0].removeprefix("e.g. ")
    return texts[0] if len(set(texts)) == 1 else f"e.g. {first}"


def compact(text: str) -> str:
    """``24 (EACCES), 25 (EACCES), 28 (EACCES)`` as ``24-25, 28 (EACCES)``."""
    return _CODES.sub(lambda match: _compact(_CODE.findall(match[0])), text)


def _compact(entries: Sequence[tuple[str, str]]) -> str:
    parts = []
    for code, group in groupby(entries, key=lambda entry: entry[1]):
        spans: list[list[str]] = []
        for name, _ in group:
            follows = spans and name.isdigit() and spans[-1][-1].isdigit() and int(name) == int(spans[-1][-1]) + 1
            if follows:
                spans[-1][1:] = [name]
            else:
                spans.append([name])
        parts.append(", ".join("-".join(span) for span in spans) + f" ({code})")
    return ", ".join(parts)


def where(cells: Mapping[str, set[Place]], universe: Mapping[str, set[Place]]) -> str:
    """Modes and what they ran under, in words: ``pinned, fifo (all loads)``, ``all modes (load spin)``.

    ``universe`` are all cells of the target, by mode in the order to name them; modes with the same places are one
    clause.
    """
    modes = [mode for mode in universe if mode in cells] + [mode for mode in cells if mode not in universe]
    places = {place for own in universe.values() for place in own} | {p for own in cells.values() for p in own}
    groups: dict[frozenset[Place], list[str]] = {}
    for mode in modes:
        groups.setdefault(frozenset(cells[mode]), []).append(mode)
    clauses = []
    for own, names in groups.items():
        everybody = len(names) > 1 and set(names) == set(universe)
        about = _places(own, places)
        clauses.append(("all modes" if everybody else ", ".join(names)) + (f" ({about})" if about else ""))
    return "; ".join(clauses)


def _places(own: frozenset[Place], every: set[Place]) -> str:
    """Which of ``every`` place: nothing where there is but one, else ``all loads``, ``load spin``, and the bench."""
    titles, loads = sorted({title for title, _ in every}), sorted({load for _, load in every})
    mine, under = sorted({title for title, _ in own}), sorted({load for _, load in own})
    if set(own) != {(title, load) for title in mine for load in under} & every:
        return "; ".join(f"{title}, load {load}" for title, load in sorted(own))
    parts = []
    if len(titles) > 1:
        parts.append("all benches" if mine == titles else ", ".join(mine))
    if len(loads) > 1:
        parts.append("all loads" if under == loads else f"load{'s' if len(under) > 1 else ''} {', '.join(under)}")
    return ", ".join(parts)


def universe_of(sections: Iterable[Section], unsupported: Iterable[Unsupported] = ()) -> dict[str, set[Place]]:
    """All cells of a target by mode, those that it cannot do too."""
    found: dict[str, set[Place]] = defaultdict(set)
    for section in sections:
        for mode in section.modes:
            found[mode.name].add((section.title, section.load))
    for each in unsupported:
        found[each.mode].add((each.bench, each.load))
    return found


def findings(sections: Sequence[Section], unsupported: Iterable[Unsupported] = ()) -> tuple[Finding, ...]:
    """The reasons of a target's runs, each once, the worst and most frequent first."""
    texts: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    runs: dict[tuple[str, str, str, str], dict[tuple[str, Place], int]] = defaultdict(dict)
    for section in sections:
        for mode in section.modes:
            for reason in mode.reasons:
                key = (reason.state, reason.rule, pattern(reason.text), reason.advice)
                texts[key].append(reason.text)
                # A run is in the sections of all its metrics, and counts once.
                runs[key][mode.name, (section.title, section.load)] = reason.runs
    every = universe_of(sections, unsupported)
    found = []
    for key in texts:
        cells: dict[str, set[Place]] = defaultdict(set)
        for mode_name, place in runs[key]:
            cells[mode_name].add(place)
        number = sum(runs[key].values())
        found.append(Finding(where(cells, every), key[0], number, one_of(texts[key]), key[3]))
    return tuple(sorted(found, key=lambda each: (_RANK.get(each.state, 2), -each.runs, each.text)))


def without_valid(sections: Sequence[Section]) -> tuple[tuple[str, str], ...]:
    """(state, where) of the cells whose numbers are of suspect runs, and of those that have none."""
    found = []
    for state, basis in (("suspect", "suspect"), ("invalid", None)):
        cells: dict[str, set[Place]] = defaultdict(set)
        for section in sections:
            for mode in section.modes:
                if mode.basis == basis:
                    cells[mode.name].add((section.title, section.load))
        if cells:
            found.append((state, where(cells, universe_of(sections))))
    return tuple(found)


def missing(unsupported: Sequence[Unsupported], every: Mapping[str, Mapping[str, set[Place]]]) -> tuple[Missing, ...]:
    """Unsupported cells by reason; targets that lack the same for the same reason are one. ``every`` is by target."""
    cells: dict[tuple[str, str], dict[str, set[Place]]] = defaultdict(lambda: defaultdict(set))
    for each in unsupported:
        cells[each.target, each.reason][each.mode].add((each.bench, each.load))
    groups: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for (target, reason), own in cells.items():
        number = sum(len(places) for places in own.values())
        groups.setdefault((where(own, every.get(target, {})), reason), []).append((target, number))
    return tuple(
        Missing(tuple(target for target, _ in targets), words, sum(number for _, number in targets), reason)
        for (words, reason), targets in groups.items()
    )


def failures(attempts: Iterable[Attempt]) -> tuple[Failures, ...]:
    """Failed attempts by target, reason and fault; the most frequent first."""
    groups: dict[tuple[str, str, str, str], list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        groups[attempt.target, attempt.fault, pattern(attempt.reason), attempt.advice].append(attempt)
    found = []
    for (target, fault, _, advice), own in groups.items():
        cells = Counter(attempt.run.rpartition("-r")[0].rpartition("-")[0] for attempt in own)
        names = ", ".join(f"{cell} ({number})" if number > 1 else cell for cell, number in cells.items())
        example = f"{own[0].run}-a{own[0].attempt}"
        reason = one_of([attempt.reason for attempt in own])
        found.append(Failures(target, fault, len(own), names, reason, advice, example))
    return tuple(sorted(found, key=lambda each: -each.number))
