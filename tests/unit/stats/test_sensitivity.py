# SPDX-License-Identifier: Apache-2.0
"""Disturbances held against gaps: on single ones, and on invented measurements of which it is known what is in them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats.marks import KINDS, marks_of
from harness.stats.sensitivity import Observed, score
from harness.stats.shares import BELOW, ENOUGH, MET, NOTHING, TOO_FEW, Score, Sensitivity

OURS, THEIRS = 100, 200
X86 = (
    "raw_syscalls/sys_enter", "exceptions/page_fault_user", "irq_vectors/reschedule_entry",
    "irq_vectors/call_function_entry", "csd/csd_function_entry", "csd/csd_queue_cpu", "ipi/ipi_send_cpu",
    "signal/signal_deliver", "sched/sched_switch", "tlb/tlb_flush",
)  # fmt: skip
X86_61 = tuple(name for name in X86 if not name.startswith(("csd/", "ipi/")))
ARM64_61 = (
    "raw_syscalls/sys_enter", "software/page_fault", "ipi/ipi_entry", "signal/signal_deliver", "sched/sched_switch",
)  # fmt: skip


def gap(at, length, cause, class_="interrupt", sender=None, chain=()):
    line = {"cpu": 1, "at_ns": at, "gap_ns": length, "class": class_, "cause": cause}
    line["chain"] = [[0, name] for name in chain or ([cause] if cause else [])]
    return line if sender is None else {**line, "sender": {"cpu": 0, "tid": sender, "task": "x", "site": "y"}}


def done(kind, at, end=None, **more):
    return {"cpu": 1, "kind": kind, "at_ns": at, "end_ns": at + 4_000 if end is None else end, **more}


def observed(gaps, disturbances, events=X86, **more):
    return Observed(gaps, disturbances, **{"end_ns": 10**9, "events": events, "injector": OURS, **more})


def only(gaps, disturbances, events=X86, **more):
    (found,) = score([observed(gaps, disturbances, events, **more)]).scores
    return found


MEMBARRIER = gap(100_500, 8_000, "call:ipi_mb", sender=OURS)


def test_a_gap_that_names_it_is_it():
    found = only([MEMBARRIER], [done("membarrier", 100_000)])
    assert (found.made, found.effective, found.found, found.named, found.false) == (1, 1, 1, 1, 0)
    assert (found.in_chain, found.called, found.verdict()) == (0, {}, TOO_FEW)


@pytest.mark.parametrize(
    ("gaps", "called"),
    [
        ([], "no gap"),
        ([gap(100_500, 8_000, None, "unexplained")], "unexplained"),
        ([gap(100_500, 8_000, "hrtimer:tick_nohz_handler")], "interrupt hrtimer:tick_nohz_handler"),
        ([gap(100_500, 8_000, "call:ipi_mb", class_="exception", chain=["fault:user"])], "exception call:ipi_mb"),
        ([gap(100_500, 8_000, "call:ipi_mb", sender=THEIRS)], "interrupt call:ipi_mb"),
        ([{"at_ns": 100_500, "gap_ns": 8_000}], "not taken"),
        ([gap(90_000, 5_000, "call:ipi_mb", sender=OURS)], "no gap"),  # before it
        ([gap(104_500, 5_000, "call:ipi_mb", sender=OURS)], "no gap"),  # after it had returned
        ([gap(100_100, 1_000, "call:x"), gap(101_500, 1_200, "timer:y")], "interrupt timer:y"),  # the longest
    ],
)  # fmt: skip
def test_what_is_missed_is_told_by_what_it_was_called(gaps, called):
    found = only(gaps, [done("membarrier", 100_000)])
    assert (found.effective, found.found, found.missed, found.called) == (1, 0, 1, {called: 1})


def test_within_an_open_gap_nothing_is_effective():
    tick = gap(95_000, 10_000, "hrtimer:tick_nohz_handler")
    found = only([tick], [done("membarrier", 100_000)])
    assert (found.made, found.not_effective, found.effective) == (1, 1, 0)
    # Neighbours share an end: at that instant neither is open.
    at_its_end = only([gap(95_000, 5_000, "task:cat"), MEMBARRIER], [done("membarrier", 100_000)])
    assert (at_its_end.effective, at_its_end.found) == (1, 1)


def test_what_an_open_gap_names_shows_more_where_nothing_is_effective():
    """A board whose host takes its CPU away at each disturbance: all that is done lies in one gap or another."""
    held = [gap(at - 500, 9_000, "call:ipi_mb", sender=OURS) for at in range(10**6, 301 * 10**6, 10**6)]
    all_done = [done("membarrier", at, at + 3_000) for at in range(10**6, 301 * 10**6, 10**6)]
    found = only(held, all_done)
    assert (found.effective, found.not_effective, found.also_found) == (0, 300, 300)
    assert (found.of_all, found.trials, found.verdict()) == (True, (300, 300), MET)
    # Of all of them those that it does not name are missed.
    quiet = [{**each, "cause": None, "class": "unexplained", "chain": []} for each in held[:5]]
    assert only([*quiet, *held[5:]], all_done).trials == (295, 300)
    cut = [{**each, "more": 3} for each in quiet]
    assert only([*cut, *held[5:]], all_done).trials == (295, 295)
    # One gap may name several, as often as they are in its chain.
    several = gap(999_000, 90_000, "call:ipi_mb", sender=OURS, chain=["call:ipi_mb", "call:ipi_mb"])
    three = [done("membarrier", at, at + 3_000) for at in (10**6, 10**6 + 20_000, 10**6 + 40_000)]
    assert only([several], three).also_found == 2
    # Which of them are trials hangs on how many are effective, never on what was found.
    good = Score("membarrier", 3_000, effective=300, found=300, not_effective=2_700, also_found=2_000, named=2_300)
    assert (good.of_all, good.trials, good.verdict()) == (False, (300, 300), MET)
    few = replace(good, effective=299, found=290, not_effective=2_701, also_found=2_701)
    assert (few.of_all, few.trials) == (True, (2_991, 3_000))
    assert replace(good, found=0, also_found=2_700).of_all is False


def test_where_something_else_came_too_the_chain_names_it():
    shared = gap(100_500, 9_000, "timer:y", sender=OURS, chain=["vector:call_function", "call:ipi_mb", "timer:y"])
    found = only([shared], [done("membarrier", 100_000)])
    assert (found.found, found.in_chain, found.named, found.false) == (1, 1, 1, 0)
    # One in which another task came is no trial, whether it names it before or after that, or not at all.
    for chain in (["call:ipi_mb", "task:kworker"], ["task:kworker", "call:ipi_mb"], ["task:kworker"]):
        found = only([gap(100_500, 9_000, "task:kworker", sender=OURS, chain=chain)], [done("membarrier", 100_000)])
        assert (found.crowded, found.effective, found.found) == (1, 0, 0)
    # What comes to a task in between is that one's; what is about the measured one is always its own.
    theirs = {**shared, "chain": [[0, "vector:local_timer"], [1, "task:kworker"], [2, "call:ipi_mb"]]}
    found = only([theirs], [done("membarrier", 100_000)])
    assert (found.found, found.missed, found.crowded, only([theirs], [done("tlb", 900)]).named) == (0, 0, 1, 0)
    # What is for one task comes to it, whoever ran in between: that it is not named is a miss.
    assert only([theirs], [done("signal", 100_000, effect_ns=103_000)]).missed == 1
    # Who sent a second interrupt is not known.
    second = gap(100_500, 9_000, "call:other", sender=THEIRS, chain=["call:other", "call:ipi_mb"])
    assert only([second], [done("membarrier", 100_000)]).found == 1
    assert only([{**second, "chain": second["chain"][::-1]}], [done("membarrier", 100_000)]).found == 0
    after = {**theirs, "chain": [*theirs["chain"], [9, "signal:SIGUSR1"]]}
    assert only([after], [done("signal", 100_000, effect_ns=109_000)]).in_chain == 1
    # A label that anybody's interrupt has says nothing in a gap that somebody else's began.
    wakeup = gap(100_500, 9_000, "task:cat", sender=THEIRS, chain=["vector:reschedule", "task:cat"])
    assert only([wakeup], [done("reschedule", 100_000)]).named == 0
    assert only([{**wakeup, "sender": {"tid": OURS}}], [done("reschedule", 100_000)]).named == 1


def test_a_gap_with_more_events_than_are_kept_may_have_named_it():
    away = gap(100_500, 9_000_000, "task:kworker", chain=["vector:local_timer", "task:kworker"])
    caught = done("signal", 100_000, effect_ns=9_100_000)
    assert (only([away], [caught]).crowded, only([away], [caught]).missed) == (0, 1)
    found = only([{**away, "more": 40}], [caught])
    assert (found.made, found.crowded, found.effective, found.missed) == (1, 1, 0, 0)
    named = {**away, "more": 40, "chain": [[0, "vector:local_timer"], [9, "signal:SIGUSR1"]]}
    assert (only([named], [caught]).crowded, only([named], [caught]).found) == (1, 0)  # one that is named as well
    within = done("signal", 90_000, effect_ns=9_100_000)
    found = only([{**named, "at_ns": 80_000, "gap_ns": 9_020_500}], [within])
    assert (found.not_effective, found.also_found, found.also_crowded) == (1, 0, 1)


def test_other_kinds_send_the_same_interrupt():
    sent = gap(100_500, 8_000, "vector:reschedule", sender=OURS)
    later = gap(60_000_000, 8_000, "task:disturber", sender=OURS)
    woken = [done("task", 100_000, effect_ns=60_001_000), done("reschedule", 700_000_000)]
    by_kind = {each.kind: each for each in score([observed([sent, later], woken)]).scores}
    assert (by_kind["reschedule"].named, by_kind["reschedule"].false) == (1, 0)
    assert by_kind["task"].found == 1
    alone = only([sent], [done("reschedule", 50), woken[1]], injector=OURS)
    assert (alone.named, alone.false) == (1, 0)
    further = only([{**sent, "at_ns": 600_000}], [done("reschedule", 50), woken[1]])
    assert (further.named, further.false) == (1, 1)


def test_a_task_is_the_one_of_that_tid():
    came = {**gap(100_500, 8_000, "task:disturber"), "tid": 42}
    woken = [done("task", 100_000, effect_ns=102_000)]
    assert only([came], woken, task=42).found == 1
    assert only([came], woken).found == 1
    another = only([came], woken, task=43)
    assert (another.found, another.named) == (0, 0)
    # Who came later is told by its name alone.
    later = {**came, "cause": "task:cat", "chain": [[0, "task:cat"], [9, "task:disturber"]]}
    assert only([later], woken, task=43).found == 1


def test_one_gap_is_one_disturbance_of_a_kind():
    twice = [done("reschedule", 100_000), done("reschedule", 100_200)]
    found = only([gap(100_500, 8_000, "vector:reschedule", sender=OURS)], twice)
    assert (found.effective, found.found) == (2, 1)
    # Of two kinds it may be both.
    shared = gap(100_500, 8_000, "call:ipi_mb", sender=OURS, chain=["vector:reschedule", "call:ipi_mb"])
    both = score([observed([shared], [done("reschedule", 100_000), done("membarrier", 100_100)])]).scores
    assert [(each.kind, each.found) for each in both] == [("membarrier", 1), ("reschedule", 1)]


def test_who_is_not_waited_for_may_come_later():
    late = gap(250_000, 8_000, "vector:reschedule", sender=OURS)
    assert only([late], [done("reschedule", 100_000)]).found == 1
    assert only([{**late, "at_ns": 405_000}], [done("reschedule", 100_000)]).found == 0


def test_an_effect_with_a_stamp_of_its_own_is_looked_for_there():
    caught = gap(900_000, 8_000, "signal:SIGUSR1", sender=OURS, chain=["vector:reschedule", "signal:SIGUSR1"])
    earlier = {**caught, "at_ns": 101_000}
    assert only([caught], [done("signal", 100_000, effect_ns=907_999)]).found == 1
    assert only([earlier], [done("signal", 100_000, effect_ns=907_999)]).called == {"no gap": 1}
    # A tick is asked for long before it comes, by a system call that is a gap itself.
    arming = gap(100_000, 2_000, "syscall:timer_settime", "syscall")
    tick = gap(4_000_000, 9_000, "signal:SIGPROF")
    found = only([arming, tick], [done("tick", 100_000, effect_ns=4_008_000)])
    assert (found.effective, found.found, found.false) == (1, 1, 0)
    # It is the tick that is to be found, whatever there was when it was asked for.
    asked = only([arming, tick], [done("tick", 101_000, effect_ns=4_008_000)])
    assert (asked.effective, asked.not_effective) == (1, 0)
    # The class has to be right as well.
    wrong = {**tick, "class": "exception", "chain": [[0, "fault:user"]]}
    assert only([wrong], [done("tick", 100_000, effect_ns=4_008_000)]).called == {"exception signal:SIGPROF": 1}


def test_what_the_task_does_itself_is_the_gap_that_begins_with_it():
    call = gap(100_000, 900, "syscall:getppid", "syscall")
    found = only([call], [done("syscall", 100_000, 100_850, name="getppid")])
    assert (found.effective, found.found, found.named, found.false) == (1, 1, 1, 0)
    assert only([call], [done("syscall", 100_000, 100_850, name="getuid")]).found == 0
    # The gap before it ends where this one begins.
    before = gap(99_000, 1_000, "fault:user", "exception")
    assert only([before], [done("fault", 100_000, 100_850)]).called == {"no gap": 1}


def test_a_gap_that_names_what_was_not_done_is_false():
    false = gap(500_000_000, 8_000, "call:ipi_mb", sender=OURS)
    found = only([MEMBARRIER, false], [done("membarrier", 100_000)])
    assert (found.named, found.false) == (2, 1)
    # What others send is not ours, where the kernel says who sent it.
    assert only([MEMBARRIER, {**false, "sender": {"tid": THEIRS}}], [done("membarrier", 100_000)]).named == 1
    # Another kind at that time is no excuse.
    other = score([observed([MEMBARRIER, false], [done("membarrier", 100_000), done("tlb", 499_999_000)])]).scores
    assert [(each.kind, each.false) for each in other] == [("membarrier", 1), ("tlb", 0)]


def test_what_the_injector_does_before_it_begins_is_not_judged():
    start = gap(50_000, 8_000, "task:disturber", sender=OURS, chain=["vector:reschedule", "task:disturber"])
    found = only([start, MEMBARRIER], [done("membarrier", 100_000), done("task", 900_000, effect_ns=901_000)][1:])
    assert found.named == 0
    assert only([start], [done("task", 40_000, effect_ns=42_000)]).false == 1


def test_without_senders_shams_say_what_comes_by_chance():
    theirs = gap(600_000, 8_000, "vector:reschedule")
    ours = gap(100_500, 8_000, "vector:reschedule")
    shams = [done("none", 599_000, 599_000), done("none", 700_000, 700_000), done("none", 600_500, 600_500)]
    found = only([ours, theirs], [done("reschedule", 100_000), *shams], X86_61)
    assert (found.precise, found.precision, found.named) == (False, None, 0)
    assert (found.shams, found.chance) == (2, 1)  # the third lies in an open gap
    assert (found.also_shams, found.also_chance) == (1, 1)
    assert found.shares == ((1, 1), (1, 2))
    # So near the end there is not the time that one of the kind takes.
    shams = [done("none", 999_900_000, 999_900_000), done("none", 990_000_000, 990_000_000)]
    late = only([ours], [done("reschedule", 100_000), *shams], X86_61)
    assert (late.shams, late.also_shams) == (1, 0)
    slow = done("task", 100_000, effect_ns=15_000_000)
    assert only([], [slow, *shams], ["software/context_switch"]).shams == 0
    # A gap that a disturbance of that kind made is no chance, even beside a sham.
    beside = only([ours], [done("reschedule", 100_000), done("none", 99_000, 99_000)], X86_61)
    assert (beside.shams, beside.chance) == (1, 0)
    # It is looked for where the effect of one of the kind was.
    left = gap(500_050_000, 8_000, "switch:preempted")
    came = done("task", 100_000, effect_ns=155_000)
    at_once = only([left], [came, done("none", 500_000_000, 500_000_000)], ["software/context_switch"])
    assert (at_once.shams, at_once.chance) == (1, 1)
    later = {**came, "effect_ns": 190_000}
    assert only([left], [later, done("none", 500_000_000, 500_000_000)], ["software/context_switch"]).chance == 0


def test_what_cannot_be_judged_is_counted():
    at_the_ends = [done("reschedule", -5), done("reschedule", 999_900_000), done("reschedule", 500_000_000)]
    found = only([], at_the_ends)
    assert (found.made, found.not_judged, found.effective) == (3, 2, 1)
    # Made, and not kept: the ring was full, or its effect had not come.
    lost = only([MEMBARRIER], [done("membarrier", 100_000)], made={"membarrier": 5, "none": 3})
    assert (lost.made, lost.not_judged, lost.effective) == (5, 4, 1)


def test_beyond_the_last_that_was_kept_nothing_is_judged():
    gaps = [MEMBARRIER, gap(200_000_000, 8_000, "call:ipi_mb", sender=OURS)]
    late = [done("membarrier", 100_000), done("membarrier", 300_000_000)]
    assert only(gaps[:1], late, gaps_lost=True).not_judged == 1
    assert only(gaps[:1], late).missed == 1
    # Gaps of disturbances that there was no room for are not false.
    assert only(gaps, late[:1], disturbances_lost=True).false == 0
    assert only(gaps, late[:1]).false == 1


def test_of_one_that_says_that_it_took_all_of_the_run_the_first_gaps_are_looked_at():
    """Else a target could keep us at it for a day: each of its disturbances held against each of its gaps."""
    gaps = [gap(100_000 + 1_000 * i, 900, "timer:y") for i in range(300)]
    for place, found in ((200, 1), (299, 0)):
        named = gap(100_000 + 1_000 * place, 900, "call:ipi_mb", sender=OURS)
        assert only([*gaps[:place], named, *gaps[place + 1 :]], [done("membarrier", 99_950, 900_000)]).found == found


def test_each_kernel_shows_what_it_can():
    assert set(marks_of(X86)) == set(KINDS)
    assert all(mark.precise for mark in marks_of(X86).values())
    assert [kind for kind, mark in marks_of(X86_61).items() if not mark.precise] == ["membarrier", "reschedule"]
    assert "tlb" not in marks_of(ARM64_61)
    assert marks_of(ARM64_61)["reschedule"].labels == ("ipi:Rescheduling interrupts",)
    assert sorted(marks_of(["software/page_fault", "software/context_switch"])) == ["fault", "task"]


def test_a_kind_that_no_event_shows_is_blind_and_no_miss():
    found = only([], [done("membarrier", 100_000)], ["software/page_fault"])
    assert (found.blind, found.not_judged, found.effective, found.verdict()) == (True, 1, 0, NOTHING)
    assert score([observed([], [done("membarrier", 100_000)], [])]).verdict() == NOTHING


def test_the_bar():
    good = Score("membarrier", 299, effective=299, found=299, named=299)
    assert good.verdict() == MET
    assert good.recall == pytest.approx(0.99003, abs=1e-5)
    fewer = replace(good, effective=298, found=298)
    assert fewer.verdict() == TOO_FEW
    missed = replace(good, found=298)
    assert missed.verdict() == TOO_FEW
    assert replace(good, found=280).verdict() == BELOW
    assert replace(good, false=20).verdict() == BELOW
    assert replace(good, named=298).verdict() == TOO_FEW
    assert replace(good, effective=0, found=0).verdict() == TOO_FEW
    by_sham = replace(good, precise=False, named=0, shams=299)
    assert by_sham.verdict() == MET
    assert replace(by_sham, shams=100).verdict() == TOO_FEW
    assert replace(by_sham, chance=30).verdict() == BELOW
    assert by_sham.by_chance == pytest.approx(1 - 0.99003, abs=1e-5)


def test_the_worst_kind_decides_and_a_blind_one_is_not_waited_for():
    good = Score("membarrier", 299, effective=299, found=299, named=299)
    few, blind = replace(good, effective=9, found=9), Score("tlb", 9, not_judged=9, blind=True)
    assert Sensitivity((good, blind)).verdict() == MET
    assert not Sensitivity((good, blind)).wanting(299)
    assert Sensitivity((good, few)).verdict() == TOO_FEW
    assert Sensitivity((good, few)).wanting(299)
    assert Sensitivity((few, replace(good, found=0))).verdict() == BELOW
    none = replace(few, effective=0, not_effective=9, found=0)
    assert Sensitivity((good, none)).verdict() == TOO_FEW
    assert Sensitivity((none, blind)).verdict() == NOTHING
    assert Sensitivity((none, blind)).wanting()
    assert Sensitivity((blind,)).verdict() == Sensitivity().verdict() == NOTHING


@given(st.integers(0, ENOUGH), st.integers(0, ENOUGH), st.booleans())
def test_how_long_it_goes_on_does_not_hang_on_what_comes_out(found, wrong, precise):
    """Else the bound would not have its confidence: it would be looked at until it is good."""
    assert ENOUGH == 773
    told = {"precise": True, "named": ENOUGH, "false": wrong}
    if not precise:
        told = {"precise": False, "shams": ENOUGH, "chance": wrong}
    enough = Score("membarrier", effective=ENOUGH, found=found, **told)
    assert not Sensitivity((enough,)).wanting()
    assert Sensitivity((replace(enough, effective=ENOUGH - 1, found=max(0, found - 1)),)).wanting()
    if not precise:
        assert Sensitivity((replace(enough, shams=ENOUGH - 1, chance=max(0, wrong - 1)),)).wanting()


# -- invented measurements ------------------------------------------------------------------------------------------

#: By kind how its gap looks; what of them says nothing of the sender is ours alone.
LOOKS = {
    "membarrier": ("interrupt", "call:ipi_mb", OURS),
    "tlb": ("interrupt", "call:flush_tlb_func", OURS),
    "reschedule": ("interrupt", "vector:reschedule", OURS),
    "signal": ("interrupt", "signal:SIGUSR1", OURS),
    "task": ("interrupt", "task:disturber", OURS),
    "fault": ("exception", "fault:user", None),
    "syscall": ("syscall", "syscall:getppid", None),
}
FATES = ("found", "found", "found", "unexplained", "no gap", "in chain", "not effective", "others")


@st.composite
def measurements(draw):
    """Gaps, disturbances, and by kind what has to be counted. Every millisecond something happens, or nothing."""
    gaps, disturbances, want = [], [], Counter()
    for at in range(10**6, 10**6 * (1 + draw(st.integers(1, 60))), 10**6):
        kind = draw(st.sampled_from([*LOOKS, "none", "noise", "false"]))
        begin = at + draw(st.integers(0, 200_000))
        if kind == "noise":
            gaps.append(gap(begin, 5_000, draw(st.sampled_from(["hrtimer:tick_nohz_handler", "task:cat", None]))))
            continue
        if kind == "none":
            disturbances.append(done("none", begin, begin))
            want["shams"] += 1
            continue
        if kind == "false":
            which = draw(st.sampled_from(list(LOOKS)))
            class_, cause, sender = LOOKS[which]
            gaps.append(gap(begin, 2_000, cause, class_, sender))
            want[which, "false"] += bool(disturbances)  # before the first, the injector's own start is seen
            continue
        class_, cause, sender = LOOKS[kind]
        fate = draw(st.sampled_from(FATES))
        made = done(kind, begin, begin + 3_000)
        by_task = kind in ("fault", "syscall")
        came = begin if by_task else begin + 1_000
        if kind == "syscall":
            made["name"] = "getppid"
        if kind in ("signal", "task"):
            made["effect_ns"] = came + 1_000
        disturbances.append(made)
        want[kind, "made"] += 1
        if fate == "not effective":
            gaps.append(gap(begin - 500, 9_000, "task:cat"))
            want[kind, "not effective"] += 1
            continue
        want[kind, "effective"] += 1
        if fate == "found":
            gaps.append(gap(came, 2_000, cause, class_, sender))
        elif fate == "unexplained":
            gaps.append(gap(came, 2_000, None, "unexplained"))
        elif fate == "in chain":
            gaps.append(gap(came, 2_000, "work:x", class_, sender, [cause, "hrtimer:x", "work:x"]))
        elif fate == "others":
            gaps.append(gap(came, 2_000, "hrtimer:tick_nohz_handler"))
        want[kind, "found"] += fate in ("found", "in chain")
        want[kind, "in chain"] += fate == "in chain"
        want[kind, "named"] += fate in ("found", "in chain")
    return gaps, disturbances, want


@settings(max_examples=60)
@given(st.lists(measurements(), min_size=1, max_size=3), st.randoms())
def test_an_invented_measurement_is_counted_as_it_was_made(several, random):
    want = sum((each[2] for each in several), Counter())
    mixed = []
    for gaps, disturbances, _ in several:
        random.shuffle(gaps)  # a file is in order of time; nothing hangs on it
        mixed.append(observed(gaps, disturbances))
    found = score(mixed)
    assert found.measurements == len(several)
    kinds = {key[0] for key in want if isinstance(key, tuple) and key[1] == "made"}
    assert {each.kind for each in found.scores} == kinds
    assert [each.kind for each in found.scores] == sorted(kinds, key=KINDS.index)
    for each in found.scores:
        kind = each.kind
        assert each.made == want[kind, "made"] == each.not_judged + each.crowded + each.not_effective + each.effective
        assert (each.not_effective, each.effective) == (want[kind, "not effective"], want[kind, "effective"])
        assert (each.found, each.in_chain) == (want[kind, "found"], want[kind, "in chain"])
        assert sum(each.called.values()) == each.missed
        # Where a run did none of a kind, nothing is said of its gaps of that kind.
        runs = [w for _, _, w in several if w[kind, "made"]]
        assert each.false == sum(w[kind, "false"] for w in runs)
        assert each.named == want[kind, "named"] + each.false
        assert 0 <= each.recall <= each.found / max(1, each.effective)
