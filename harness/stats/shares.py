# SPDX-License-Identifier: Apache-2.0
"""What disturbances and gaps come to when they are counted: shares with their bounds, held against a bar. Pure.

A bound holds with its confidence only if nothing was chosen by what came out. So how many trials are enough is fixed
beforehand (to go on until the bound is reached would meet a bar of 99 % three times as often where it is just missed),
and which disturbances are trials depends on what the task was at, not on whether they were found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from .binomial import at_least, at_most, trials_needed
from .marks import KINDS

#: What is shown of each kind, or not: the lower bounds of the shares found and rightly named.
BAR = 0.99
#: Trials of each kind that are enough, whatever comes of them: of so many (773), three may be missed.
ENOUGH = trials_needed(BAR, missed=3)
#: Where fewer of those that were made are effective, all of them are trials.
FEW_EFFECTIVE = 0.1
MET, TOO_FEW, BELOW, NOTHING = "met", "too few", "below", "nothing"


@dataclass(frozen=True)
class Score:
    """One kind. ``made`` = ``not_judged`` + ``crowded`` + ``not_effective`` + ``effective``; of these ``found``
    (``in_chain``: by the chain alone) and ``missed``, by what the gap was ``called`` instead. ``crowded``: the gap held
    more events than its chain keeps, or another task, to which the interrupt may have come: no trial, whether or not it
    was found. Of those that were not effective some are ``also_found``: the gap that was open names them; and some
    ``also_crowded``.

    ``named``: gaps that name the kind in either way, of which ``false`` were not made by us; both 0 where that cannot
    be said (``precise``). ``shams``, and how many of them ``chance`` would have counted as found; ``also_``: those that
    lay in an open gap. ``blind``: no event of this kernel shows the kind.
    """

    kind: str
    made: int = 0
    not_judged: int = 0
    crowded: int = 0
    not_effective: int = 0
    also_found: int = 0
    also_crowded: int = 0
    effective: int = 0
    found: int = 0
    in_chain: int = 0
    called: Mapping[str, int] = field(default_factory=dict)
    precise: bool = True
    named: int = 0
    false: int = 0
    shams: int = 0
    chance: int = 0
    also_shams: int = 0
    also_chance: int = 0
    blind: bool = False

    @property
    def missed(self) -> int:
        return self.effective - self.found

    @property
    def of_all(self) -> bool:
        """Whether all that were made are trials, effective or not: the harder test, and the only one where the host
        takes an emulated CPU away at each disturbance."""
        return self.effective < FEW_EFFECTIVE * (self.effective + self.not_effective)

    @property
    def trials(self) -> tuple[int, int]:
        """How many were found, of how many: of the effective ones, or of all."""
        return self._every if self.of_all else (self.found, self.effective)

    @property
    def tried(self) -> int:
        """How many trials there are of what has to be shown, by numbers that are the same whatever came of them."""
        return self.trials[1] if self.precise else min(self.trials[1], self._shams[1])

    @property
    def _every(self) -> tuple[int, int]:
        return self.found + self.also_found, self.effective + self.not_effective - self.also_crowded

    @property
    def _shams(self) -> tuple[int, int]:
        """How many would have been counted as found, of how many."""
        more = (self.also_chance, self.also_shams) if self.of_all else (0, 0)
        return self.chance + more[0], self.shams + more[1]

    @property
    def recall(self) -> float:
        """The share that is found, at least: 0..1, with 95 % confidence."""
        return at_least(*self.trials)

    @property
    def precision(self) -> float | None:
        """The share of the gaps named so that are so, at least; ``None``: it cannot be said."""
        return at_least(self.named - self.false, self.named) if self.precise and not self.blind else None

    @property
    def by_chance(self) -> float | None:
        """The share of shams that would be counted as found, at most; ``None`` without shams."""
        return at_most(*self._shams) if self._shams[1] and not self.blind else None

    @property
    def shares(self) -> tuple[tuple[int, int], ...]:
        """What has to reach the bar, as (good, of all): what is found; what is named, else what shams leave alone."""
        wrong, of = (self.false, self.named) if self.precise else self._shams
        return self.trials, (of - wrong, of)

    def verdict(self, bar: float = BAR) -> str:
        """``met``; ``below``: surely under it; ``too few`` for either; ``nothing`` can be seen of the kind."""
        if self.blind:
            return NOTHING
        # That few are found while a gap is open says nothing against those that are effective.
        if any(at_most(*share) < bar for share in ((self.found, self.effective), *self.shares[1:])):
            return BELOW
        return MET if all(at_least(*share) >= bar for share in self.shares) else TOO_FEW


@dataclass(frozen=True)
class Sensitivity:
    """``scores``: of each kind that was made, in the order of :data:`~harness.stats.marks.KINDS`."""

    scores: tuple[Score, ...] = ()
    measurements: int = 0

    def verdict(self, bar: float = BAR) -> str:
        """Of all kinds that can be seen: the worst; ``nothing`` where none was effective of any, nor found."""
        if not any(score.effective or score.trials[0] for score in self.scores):
            return NOTHING
        found = {score.verdict(bar) for score in self.scores}
        return next((word for word in (BELOW, TOO_FEW, MET) if word in found), NOTHING)

    def wanting(self, enough: int = ENOUGH) -> bool:
        """Whether a kind that can be seen has not been tried so often."""
        return any(score.tried < enough for score in self.scores if not score.blind)


def total(several: Iterable[Sensitivity]) -> Sensitivity:
    """What was counted in each, added up."""
    tallies: dict[str, Tally] = {}
    measurements = 0
    for one in several:
        measurements += one.measurements
        for each in one.scores:
            tallies.setdefault(each.kind, Tally()).add(each)
    order = {kind: place for place, kind in enumerate(KINDS)}
    kinds = sorted(tallies, key=lambda kind: (order.get(kind, len(order)), kind))
    return Sensitivity(tuple(tallies[kind].score(kind) for kind in kinds), measurements)


_COUNTS = tuple(each.name for each in fields(Score) if each.type == "int")


@dataclass
class Tally:
    """Counts of one kind while they are made, under the names that :class:`Score` has for them."""

    counts: Counter[str] = field(default_factory=Counter)
    called: Counter[str] = field(default_factory=Counter)
    precise: bool = True
    blind: bool = True

    def add(self, score: Score) -> None:
        self.counts.update({name: getattr(score, name) for name in _COUNTS})
        self.called.update(score.called)
        self.precise &= score.precise
        self.blind &= score.blind

    def score(self, kind: str) -> Score:
        numbers = {name: self.counts[name] for name in _COUNTS}
        if not self.precise:
            numbers |= {"named": 0, "false": 0}
        return Score(kind, **numbers, called=dict(self.called.most_common()), precise=self.precise, blind=self.blind)
