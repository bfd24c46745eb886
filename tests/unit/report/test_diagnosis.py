# SPDX-License-Identifier: Apache-2.0
"""What doctor measured, as a person reads it: causes in order, what to do once, and nothing that a terminal obeys."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from harness.cli.consoles import Console
from harness.report.diagnosis import (
    SHOWN_CAUSES,
    boots_line,
    command_line,
    print_changes,
    print_diagnosis,
    tune_line,
)
from harness.report.diagnosis_json import changes_json, to_json
from harness.stats.diagnosis import diagnose

from ..stats.test_diagnosis import FACTS, FOUND, TICK, TIMER, document, found, gap


def shown(gaps: Any = None, level: str = "tracepoints", advice: str = "", width: int = 80) -> str:
    out = io.StringIO()
    print_diagnosis(found(gaps, level), advice, Console(file=out, width=width, color_system=None))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(len(line.rstrip("\n")) for line in shown(width=width).splitlines()) <= width


def test_it_says_how_noisy_by_what_and_what_to_do() -> None:
    text = shown(width=120)
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "box: CPU 1, mode pinned, 5.00 s of gap, causes by tracepoints"
    assert "118 gaps of 1 µs and more, 23.6 a second; they took 449 µs of each second" in lines
    assert "suspect: the hypervisor took 40 ms" in lines
    (first,) = (line for line in lines if line.startswith("1 "))
    assert first.split() == ["1", "task:python", "1.20", "300", "µs", "66.9", "%", "300", "µs"]
    assert lines.index("the timer tick") > lines.index(first)
    (remedy,) = (line for line in lines if "boot with isolcpus" in line)
    assert remedy.startswith("100 %")
    follows = lines[lines.index(remedy) + 1]
    assert follows == "not in effect; for causes 1-4, 6; Documentation/admin-guide/kernel-parameters.txt"
    assert any(line.startswith("not in effect: tune: [stat-interval]; for cause 3;") for line in lines)
    assert any(line.startswith("in effect already: ") and "timer-migration" in line for line in lines)


def test_a_knob_that_the_run_could_not_set_says_why() -> None:
    text = shown({("interrupt", "irq:eth0", "irq:eth0"): [4_000]}, width=120)
    assert "irq-affinity: tried, and not in effect: not movable: 24 (EPERM); for cause 1;" in text


def test_what_is_beyond_the_first_is_summed() -> None:
    many = {("interrupt", TIMER, f"task:t{number:02}"): [1_000 * (50 - number)] for number in range(SHOWN_CAUSES + 5)}
    lines = shown(many).splitlines()
    (rest,) = (line.split() for line in lines if " 5 more" in line)
    assert rest[:3] == ["5", "more", "1.00"]
    assert any("for causes 1-8 and more" in line for line in lines)


def test_one_cause_that_is_shown_and_others_that_are_not_are_one_cause_and_more() -> None:
    many = {("interrupt", TIMER, f"fault:{number:02}"): [1_000 * (50 - number)] for number in range(SHOWN_CAUSES - 1)}
    works = {("interrupt", TIMER, f"work:w{number}"): [90_000 - 80_000 * (number > 0)] for number in range(3)}
    assert "for cause 1 and more;" in " ".join(shown({**many, **works}, width=120).split())


def test_reasons_are_told_one_by_one_and_what_is_alike_in_them_once() -> None:
    texts = ["not movable: 24 (EACCES), 25 (EACCES), 26 (EACCES)", "the hypervisor took 40 ms"]
    made = diagnose(
        document(FOUND, validity={"state": "suspect", "reasons": [{"rule": "x", "text": text} for text in texts]}),
        FACTS,
    )
    assert made is not None
    out = io.StringIO()
    print_diagnosis(made, "", Console(file=out, width=80, color_system=None))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    at = lines.index("  suspect:")
    assert lines[at + 1 : at + 3] == ["    not movable: 24-26 (EACCES)", "    the hypervisor took 40 ms"]


@pytest.mark.parametrize(("scope", "said"), [("task", True), ("cpu", False)])
def test_where_only_the_task_was_looked_at_that_is_said(scope: str, said: bool) -> None:
    asked = document(FOUND)
    asked["results"][0]["attribution"]["scope"] = scope
    made = diagnose(asked, FACTS)
    assert made is not None
    out = io.StringIO()
    print_diagnosis(made, "", Console(file=out, width=200, color_system=None))
    assert ("seen was what happened to the task" in out.getvalue()) is said


def test_what_is_about_next_to_nothing_is_not_homework() -> None:
    small = {("interrupt", TIMER, "task:a"): [10**8], ("interrupt", TIMER, "work:vmstat_update"): [2_000]}
    text = shown(small)
    assert "isolcpus" in text
    assert "stat-interval" not in text.partition("what to do")[2].partition("more: --json")[0]
    flat = {("interrupt", TIMER, f"fault:{number}"): [1_000] for number in range(300)}
    assert "mlockall" in shown(flat)


def test_a_quiet_core_is_told_so() -> None:
    text = shown({})
    assert "quiet: nothing of 1 µs or longer in 5.00 s: at most 0.600 a second (95 %)" in text
    assert "what to do" not in text


def test_a_lower_level_is_told_with_its_reason_and_what_would_raise_it() -> None:
    text = " ".join(shown(level="nothing", advice="measure as root").split())
    assert "causes could not be had" in text
    assert "no more than that: perf_event_paranoid is 3, and no CAP_PERFMON advice: measure as root" in text
    software = " ".join(shown({("interrupt", None, "switch:preempted"): [9_000]}, "software").split())
    assert "by software events alone" in software
    assert "perf_event_paranoid is 2" in software
    assert "switch:preempted" in software


def test_names_from_a_target_are_not_obeyed() -> None:
    text = shown({("interrupt", TIMER, "task:\x1b[31mred\nnew"): [9_000]})
    assert "\x1b" not in text
    assert "task:\\x1b[31mred\\nnew" in text


def test_who_sent_it_and_what_kept_the_tick_on_stand_below_a_cause() -> None:
    kept = [gap(TICK, "tick:SCHED"), *(gap(TICK, sender={"task": name}) for name in ("a", "a", "b", "\x07"))]
    made = diagnose(document(FOUND), FACTS, kept)
    assert made is not None
    out = io.StringIO()
    print_diagnosis(made, "", Console(file=out, width=120, color_system=None))
    lines = [line.strip() for line in out.getvalue().splitlines()]
    at = lines.index("the timer tick")
    assert lines[at + 1].startswith("sent by a (2), \\x07 (1), b (1)")
    assert lines[at + 2].startswith("the tick stays on: more than one task wants to run here (tick:SCHED, 1 time)")
    told = next(each for each in to_json(made, "")["causes"] if each["cause"] == TICK)
    assert told["senders"][0] == {"task": "a", "count": 2}
    assert told["ticks"] == [{"cause": "tick:SCHED", "count": 1}]


def test_before_beside_after() -> None:
    after = {key: lengths for key, lengths in FOUND.items() if key[2] != "work:vmstat_update"}
    after[("interrupt", TIMER, "task:late")] = [50_000]
    out = io.StringIO()
    print_changes(found(), found(after), Console(file=out, width=80, color_system=None))
    rows = {line.split()[0]: line.split()[1:] for line in out.getvalue().splitlines()}
    assert rows["work:vmstat_update"] == ["40.0", "µs", "0", "ns", "gone", "1.00", "0"]
    assert rows["task:late"] == ["0", "ns", "10.0", "µs", "new", "0", "0.200"]
    assert rows["task:python"] == ["300", "µs", "300", "µs", "+0", "%", "1.20", "1.20"]
    assert rows["all"] == ["gaps", "449", "µs", "419", "µs", "-7", "%", "23.6", "22.8"]


def test_lines_to_copy() -> None:
    assert tune_line(["workqueues", "thp"]) == "tune: [workqueues, thp]"
    line = boots_line(found())
    assert line.startswith('boots: {quiet: {add: "isolcpus=managed_irq,domain,{isolated} nohz_full={isolated}')
    assert boots_line(found({})) == command_line(found({})) == ""
    assert command_line(found()) == "isolcpus=managed_irq,domain,1 nohz_full=1"


def test_the_line_for_an_inventory_is_one(tmp_path: Any) -> None:
    from harness.config.inventory import load_inventory

    path = tmp_path / "i.yaml"
    path.write_text(f"targets: {{box: {{address: a, isolated: '1'}}}}\n{boots_line(found())}\n")
    assert "nohz_full={isolated}" in str(load_inventory(path).boots["quiet"])


def test_json_has_all_of_it() -> None:
    told = json.loads(json.dumps(to_json(found(), "")))
    assert [each["cause"] for each in told["causes"]][:2] == ["task:python", "hrtimer:tick_nohz_handler"]
    assert all(each["remedies"] and each["text"] for each in told["causes"])
    assert (told["count"], told["state"], told["level"], told["advice"]) == (118, "suspect", "tracepoints", None)
    assert changes_json(found(facts=FACTS), found())[0]["before"].keys() == {"rate_hz", "stolen_ns_per_s"}
