# SPDX-License-Identifier: Apache-2.0
"""The probe `sense`: what it says that it did is what happened. Counts, order and content; never a time."""

from __future__ import annotations

import collections
import json
import os
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from harness import build
from harness.stats.sensitivity import Observed, score

from .csrc_kit import IS_ROOT, a_cpu, assert_described, assert_histogram, assert_refused, measured, run, unprivileged

KINDS = ["membarrier", "tlb", "reschedule", "signal", "tick", "fault", "syscall", "task", "none"]
CALLS = {"getppid", "getuid", "getpgid", "getpriority"}
STAMPED = {"signal", "tick", "task"}
BY_TASK = {"fault", "syscall", "tick"}
DISTANCE_NS = 1_000_000

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU only")
as_root = pytest.mark.skipif(not IS_ROOT, reason="not root: no priority, and no reschedules")


@pytest.fixture(scope="module")
def sense() -> Path:
    return build.build_probe("sense", build.native_arch()).path


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def sensed(sense, out, *argv):
    result = measured(sense, out, "--distance", "1ms", *argv)
    return result, lines_of(out / "gaps.jsonl"), lines_of(out / "disturbances.jsonl")


@pytest.fixture(scope="module")
def everything(sense, tmp_path_factory):
    """One run with all kinds, of highest precedence where that is allowed."""
    out = tmp_path_factory.mktemp("everything")
    argv = ["--sched", "fifo:1"] if IS_ROOT else []
    return out, *sensed(sense, out, "--cpu", a_cpu(), "--duration", "3s", *argv)


def assert_agree(result, done):
    """What the result says of the file is in the file."""
    told = result["disturbances"]
    assert told["file"] == "disturbances.jsonl"
    assert told["count"] == sum(told["made"].values())
    assert told["stored"] == len(done) == told["count"] - told["dropped"]
    if not told["dropped"]:
        assert collections.Counter(each["kind"] for each in done) == told["made"]
    for each in done:
        extra = {"effect_ns"} if each["kind"] in STAMPED else {"name"} if each["kind"] == "syscall" else set()
        assert set(each) == {"kind", "at_ns", "end_ns"} | extra
        assert 0 <= each["at_ns"] <= each["end_ns"] <= result["duration_ns"]
        assert each.get("effect_ns", each["end_ns"]) >= each["at_ns"]
        assert each.get("name", "getuid") in CALLS
    # None begins before the one before is over, and then only after half of the distance.
    for before, after in pairwise(done):
        over = max(before["end_ns"], before.get("effect_ns", 0))
        assert after["at_ns"] >= over + result["params"]["distance_ns"] * 0.49


def test_it_is_described(sense):
    described = assert_described(sense, "sense")
    assert described["params"]["kinds"]["choices"] == ["all", *KINDS]


def test_a_run_and_its_files_agree(everything):
    out, result, gaps, done = everything
    assert_agree(result, done)
    assert_histogram(out, result["histograms"]["gap_ns"])
    assert result["gaps"]["count"] == len(gaps)
    assert result["params"]["kinds"] == "all"
    made, unavailable = result["disturbances"]["made"], result["disturbances"]["unavailable"]
    assert sorted(made) == sorted(set(KINDS) - set(unavailable))
    # All of them before any comes again: none is made more than once more often than another.
    assert max(made.values()) - min(made.values()) <= 1 < min(made.values())
    rounds = range(0, len(done) - len(made) + 1, len(made))
    orders = {tuple(each["kind"] for each in done[i : i + len(made)]) for i in rounds}
    assert len(orders) > 1
    assert all(set(order) == set(made) for order in orders)
    assert len({each["name"] for each in done if each["kind"] == "syscall"}) > 1


def test_what_cannot_be_made_has_its_reason(everything):
    unavailable = everything[1]["disturbances"]["unavailable"]
    wanted = {"tlb": "without an interrupt"} if os.uname().machine == "aarch64" else {}
    if not IS_ROOT:
        wanted["reschedule"] = os.strerror(1)
    assert unavailable.keys() == wanted.keys()
    assert all(wanted[kind] in unavailable[kind] for kind in wanted)


def test_the_faults_that_are_made_are_told_from_others(everything):
    result = everything[1]
    told = result["disturbances"]
    assert 0 <= result["faults"]["injected"] - told["made"]["fault"] <= told["unanswered"]
    assert result["faults"]["minor"] >= result["faults"]["injected"]


def test_who_did_it_says_where_it_was(everything):
    result = everything[1]
    injector, task = result["detail"]["injector"], result["detail"]["task"]
    assert injector["affinity"] == str(injector["cpu"]) != str(a_cpu())
    assert injector["cpu"] in os.sched_getaffinity(0)
    assert (task["affinity"], task["cpu"]) == (str(a_cpu()), a_cpu())
    if IS_ROOT:
        assert (task["policy"], task["priority"]) == ("fifo", 2)
        assert (injector["policy"], injector["priority"]) == ("fifo", 1)
    assert len({injector["tid"], task["tid"], 0}) == 3
    assert re.fullmatch("[0-9a-f]{16}", result["detail"]["seed"])


def test_what_the_task_does_is_a_gap_that_begins_with_it(everything):
    _, result, gaps, done = everything
    if result["attribution"]["level"] != "tracepoints":
        pytest.skip(f"no tracepoints: {result['attribution']['reason']}")
    begins = {gap["at_ns"]: gap for gap in gaps}
    causes = {"fault": "fault:user", "tick": "syscall:timer_settime"}
    # Now and then something comes right before it: then it says that it was within that gap.
    mine = [each for each in done if each["kind"] in BY_TASK]
    first = [each for each in mine if each["at_ns"] in begins]
    assert len(first) >= 0.9 * len(mine)
    for each in first:
        chain = [label for _, label in begins[each["at_ns"]]["chain"]]
        assert causes.get(each["kind"], f"syscall:{each.get('name')}") in chain


def test_what_is_done_is_found(everything):
    """Nearly all of it: this machine has others at work, and nobody says here how many of a hundred."""
    _, result, gaps, done = everything
    told = result["attribution"]
    if told["level"] != "tracepoints":
        pytest.skip(f"no tracepoints: {told['reason']}")
    observed = Observed(
        gaps=gaps,
        disturbances=done,
        end_ns=result["duration_ns"],
        events=told["events"]["open"],
        injector=result["detail"]["injector"]["tid"],
        task=result["detail"]["task"]["tid"],
        clock_error_ns=round(told["clock_error_ns"]),
    )
    found = score([observed])
    assert {each.kind for each in found.scores} == set(result["disturbances"]["made"]) - {"none"}
    for each in found.scores:
        assert each.effective > 0
        assert each.found >= 0.9 * each.effective, (each.kind, each.called)


@pytest.mark.parametrize("kind", ["membarrier", "fault", "task"])
def test_one_kind_alone(sense, tmp_path, kind):
    argv = ["--sched", "fifo:1"] if IS_ROOT else []
    result, _, done = sensed(sense, tmp_path, "--cpu", a_cpu(), "--duration", "200ms", "--kinds", kind, *argv)
    assert_agree(result, done)
    assert (list(result["disturbances"]["made"]), result["disturbances"]["unavailable"]) == ([kind], {})
    assert ("injected" in result["faults"]) == (kind == "fault")


def test_what_there_is_no_room_for_is_counted(sense, tmp_path):
    argv = ["--cpu", a_cpu(), "--duration", "500ms", "--ring", "1", "--kinds", "none", "--threshold", "50ns"]
    result, gaps, done = sensed(sense, tmp_path, *argv)
    assert_agree(result, done)
    assert (len(done), len(gaps)) == (1, 1)
    assert result["disturbances"]["dropped"] == result["disturbances"]["count"] - 1 > 0


@as_root
@pytest.mark.parametrize("policy", ["other", "batch", "fifo:7"])
def test_the_policy_is_put_back(sense, tmp_path, policy):
    argv = ["--cpu", a_cpu(), "--duration", "200ms", "--kinds", "reschedule", "--sched", policy]
    result, _, done = sensed(sense, tmp_path, *argv)
    name, _, priority = policy.partition(":")
    for when in ("start", "end"):
        told = result["effective"][when]
        assert (told["policy"], told["priority"]) == (name, int(priority or 0))
    assert {each["kind"] for each in done} == {"reschedule"}


@as_root
def test_nobody_comes_before_the_highest_priority(sense, tmp_path):
    result, _, done = sensed(sense, tmp_path, "--cpu", a_cpu(), "--duration", "200ms", "--sched", "fifo:99")
    assert "no task has precedence" in result["disturbances"]["unavailable"]["task"]
    assert "task" not in {each["kind"] for each in done}
    assert_agree(result, done)


def test_without_privilege(sense, tmp_path):
    done = run(*unprivileged(sense, "--cpu", a_cpu(), "--duration", "500ms", "--distance", "1ms", "--out", tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((tmp_path / "result.json").read_text())
    assert_agree(result, lines_of(tmp_path / "disturbances.jsonl"))
    told = result["disturbances"]
    assert told["unavailable"]["reschedule"] == f"sched_setscheduler of the measured task: {os.strerror(1)}"
    assert {"membarrier", "signal", "tick", "fault", "syscall", "task", "none"} <= set(told["made"])
    assert result["attribution"]["level"] in ("software", "nothing")
    assert result["detail"]["task"]["policy"] == "other"


def test_a_task_that_is_not_pinned_has_no_other_at_its_side(sense, tmp_path):
    result, _, done = sensed(sense, tmp_path, "--duration", "200ms")
    assert_agree(result, done)
    assert result["disturbances"]["unavailable"]["task"] == "the measured task is not pinned"
    assert result["detail"]["task"] is None
    # Meanwhile it keeps off the CPU from which it is disturbed.
    assert result["effective"]["start"]["affinity"] == result["effective"]["end"]["affinity"]


def test_the_disturbing_cpu_may_be_chosen(sense, tmp_path):
    measured_cpu, other = sorted(os.sched_getaffinity(0))[:2]
    result, _, _ = sensed(
        sense, tmp_path, "--cpu", measured_cpu, "--injector-cpu", other, "--duration", "50ms", "--kinds", "none"
    )
    assert (result["cpu"], result["detail"]["injector"]["cpu"]) == (measured_cpu, other)
    done = run(sense, "--cpu", other, "--injector-cpu", other, "--duration", "50ms")
    assert (done.returncode, "that is the measured CPU" in done.stderr) == (2, True)


def test_without_a_second_cpu_it_refuses(sense, tmp_path):
    cpu = a_cpu()
    argv = [sense, "--cpu", cpu, "--duration", "50ms", "--out", tmp_path]
    done = run(*argv, preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
    assert_refused(done, "one allowed CPU only", "allow this task a second CPU")
    assert list(tmp_path.iterdir()) == []


def test_it_says_so_to_a_person_as_well(sense):
    done = run(sense, "--cpu", a_cpu(), "--duration", "50ms")
    assert done.returncode == 0
    assert "injector" in done.stdout


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_the_loop_makes_no_call_but_the_injected_ones(sense, tmp_path):
    """Of the measured thread, which is the first; the loop is what lies between its two readings of page faults."""
    log, out = tmp_path / "strace", tmp_path / "out"
    out.mkdir()
    argv = ["--cpu", a_cpu(), "--duration", "500ms", "--distance", "2ms", "--out", out]
    done = run("strace", "-f", "-o", log, sense, *argv)
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    own = [line for line in lines if line.split()[0] == lines[0].split()[0]]
    first, second = [i for i, line in enumerate(own) if "getrusage(" in line]
    calls = collections.Counter(re.findall(r"^\d+ +(\w+)\(", "\n".join(own[first + 1 : second]), re.M))
    told = json.loads((out / "result.json").read_text())["disturbances"]
    made = told["made"]
    assert sum(calls.pop(call, 0) for call in CALLS) == made["syscall"]
    assert made["tick"] <= calls.pop("timer_settime") <= made["tick"] + told["unanswered"]
    stamped = made["tick"] + made["signal"]
    assert stamped <= calls.pop("rt_sigreturn") <= stamped + told["unanswered"]
    # The end: it waits for the two threads.
    assert set(calls) <= {"futex", "munmap"}, calls
