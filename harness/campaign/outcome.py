# SPDX-License-Identifier: Apache-2.0
"""How an execution ended, from what it left: pure counting and the exit code that follows. First match wins."""

from __future__ import annotations

from dataclasses import dataclass

from ..stats.budgets import FAILED, NOT_JUDGED, Verdict, counted

OK, OVER_BUDGET, MISTAKE, INFRASTRUCTURE, NOTHING_VALID, INCOMPLETE = 0, 1, 2, 3, 4, 5


@dataclass(frozen=True)
class LaneOutcome:
    """One target's share. ``planned`` counts the runs that the target can do (unsupported cells are apart).

    ``finished`` runs lie in ``runs/``; ``usable`` of them are valid or suspect, ``valid`` valid;
    ``failed`` have used up their retries; ``failure`` is why the lane ended early, if something broke; ``stopped`` if
    it was asked to stop; ``left_measuring`` if its target could not be told, and may go on with its batch;
    ``left_booted`` the kernel and boot profile of ours that it may run on; ``lasting`` if ``failure`` would come again
    until somebody corrects what it names.
    """

    target: str
    planned: int
    finished: int
    usable: int
    failed: int = 0
    unsupported: int = 0
    failure: str | None = None
    advice: str | None = None
    fault: str | None = None
    stopped: str | None = None
    left_measuring: bool = False
    left_booted: str | None = None
    valid: int = 0
    lasting: bool = False

    @property
    def lost(self) -> int:
        """Planned runs that this carrying-out will not bring any more, because something broke."""
        return self.missing if self.failure is not None else self.failed

    @property
    def missing(self) -> int:
        return max(0, self.planned - self.finished)


@dataclass(frozen=True)
class Outcome:
    """All lanes together. ``quorum`` is the share of planned runs, 0..1, that must have finished. ``budgets``: every
    verdict on the campaign's budgets. ``once``: what was to come of the runs does not come of resume."""

    lanes: tuple[LaneOutcome, ...]
    quorum: float
    budgets: tuple[Verdict, ...] = ()
    signum: int | None = None
    once: bool = False

    @property
    def over_budget(self) -> tuple[Verdict, ...]:
        return tuple(each for each in self.budgets if each.result == FAILED)

    @property
    def not_judged(self) -> tuple[Verdict, ...]:
        return tuple(each for each in self.budgets if each.result == NOT_JUDGED)

    @property
    def planned(self) -> int:
        return sum(lane.planned for lane in self.lanes)

    @property
    def finished(self) -> int:
        return sum(lane.finished for lane in self.lanes)

    @property
    def usable(self) -> int:
        return sum(lane.usable for lane in self.lanes)

    @property
    def states(self) -> str:
        """``3 valid, 6 suspect, 9 invalid``: of the finished runs, what there is of each."""
        valid = sum(lane.valid for lane in self.lanes)
        numbers = {"valid": valid, "suspect": self.usable - valid, "invalid": self.finished - self.usable}
        return ", ".join(f"{number} {state}" for state, number in numbers.items() if number)

    @property
    def lost(self) -> int:
        return sum(lane.lost for lane in self.lanes)

    @property
    def _mistaken(self) -> list[str]:
        """The targets that a file of the user's, not the world, kept from being measured."""
        return [lane.target for lane in self.lanes if lane.failure is not None and lane.fault == "user"]

    @property
    def exit_code(self) -> int:
        if self.signum is not None:
            return 128 + self.signum
        if self._mistaken:
            return MISTAKE
        if self.over_budget:
            return OVER_BUDGET
        broken = any(lane.failure is not None or lane.failed for lane in self.lanes)
        if broken and (self.finished == 0 or self.planned - self.lost < self.quorum * self.planned):
            return INFRASTRUCTURE
        stopped = any(lane.stopped is not None for lane in self.lanes)
        if stopped and self.finished < self.planned:
            return INCOMPLETE
        if self.usable == 0 or self._nothing_judged:
            return NOTHING_VALID
        if self.finished + self.lost < self.planned:
            return INCOMPLETE
        return OK

    @property
    def _nothing_judged(self) -> bool:
        """Whether budgets were asked for and not one of them could be judged: that is no pass."""
        return bool(self.budgets) and len(self.not_judged) == len(self.budgets)

    @property
    def _then(self) -> str:
        """What to do: where something has to be corrected first, resume would only meet it again."""
        lasting = [lane.target for lane in self.lanes if lane.lasting]
        return f"{self._again} once that is corrected: {', '.join(lasting)}" if lasting else self._again

    @property
    def _again(self) -> str:
        return "run it again" if self.once else "resume continues"

    @property
    def sentence(self) -> str:
        """The outcome in one line, the exit code's reason included."""
        checks = "" if self.usable == 0 else counted(self.budgets)
        return f"{self._sentence}; {checks}" if checks else self._sentence

    @property
    def _sentence(self) -> str:
        done = f"{self.finished} of {self.planned} runs finished"
        if states := self.states:
            done += f": {states}"
        if unsupported := sum(lane.unsupported for lane in self.lanes):
            done += f" ({unsupported} cell{'s are' if unsupported > 1 else ' is'} unsupported)"
        code = self.exit_code
        if code > 128:
            left = [lane.target for lane in self.lanes if lane.left_measuring]
            runs = ", ".join(f"{lane.target} ({lane.left_booted})" for lane in self.lanes if lane.left_booted)
            cancel = f"isolbench restore --cancel {' '.join(left)}"
            not_back = [f"NOT put back: {', '.join(left)} ({cancel})"] if left else []
            not_back += [f"NOT booted back: {runs} (resume does, at its end)"] if runs else []
            back = "; ".join(not_back) or "targets were put back"
            return f"interrupted: {done}; {back}; {self._again}"
        if code == MISTAKE:
            return f"{done}; what was asked for cannot be right: {', '.join(self._mistaken)}; {self._then}"
        if code == OVER_BUDGET:
            return done
        if code == INFRASTRUCTURE:
            return f"{done}, below the quorum of {self.quorum:.0%}; {self._then}"
        if code == NOTHING_VALID:
            if self.planned == 0:
                return "nothing could run: every cell is unsupported"
            if self._nothing_judged and self.usable:
                return f"{done}, and no budget could be judged"
            return f"{done}, and none of them is valid"
        if code == INCOMPLETE:
            why = next((lane.stopped for lane in self.lanes if lane.stopped), "stopped")
            return f"{done} ({why}); {self._then}"
        return done
