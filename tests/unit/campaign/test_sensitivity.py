# SPDX-License-Identifier: Apache-2.0
"""Runs of `sense` scored: what is said of a target, when it is enough, and what the newest is for a report."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.campaign import execution as executions
from harness.campaign import sensitivity
from harness.campaign.execution import Execution
from harness.campaign.outcome import LaneOutcome, Outcome
from harness.campaign.sensitivity import RUNS, Watch, document_of, exit_code, plan_of, scored
from harness.config.inventory import load_inventory
from harness.plan.diagnosis import best_mode
from harness.store import sensitivity as store
from harness.store.files import write_file
from harness.store.runs import load_run

from ..plan.machines import machine
from ..report import fake_execution as fake
from . import fake_sense


def outcome(**lane: Any) -> Outcome:
    return Outcome((LaneOutcome(**{"target": "local", "planned": RUNS, "finished": 1, "usable": 1, **lane}),), 1.0)


def kept(execution: Execution, **lane: Any) -> dict[str, Any]:
    """sensitivity.json, as it is written."""
    found = {target: scored(execution, target) for target in execution.plan.targets}
    store.write(execution.path, document_of(execution, found, outcome(**lane)))
    document: dict[str, Any] = json.loads((execution.path / "sensitivity.json").read_text())
    return document


def code_of(execution: Execution, **lane: Any) -> int:
    return exit_code(outcome(**lane), {target: scored(execution, target) for target in execution.plan.targets})


def test_the_plan_is_one_attributed_cell_a_target() -> None:
    plan = plan_of({"local": "fifo"}, load_inventory(None))
    (cell,) = plan.cells
    assert (cell.bench, cell.attribution, cell.mode.name, cell.load.name) == ("sense", "perf", "fifo", "idle")
    assert plan.campaign.name == "sensitivity"
    assert plan.runs == RUNS


def test_each_target_has_the_mode_that_it_can_have(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(json.dumps({"targets": {"box": {"address": "box"}}}))
    plan = plan_of({"local": "fifo", "box": "pinned"}, load_inventory(tmp_path / "lab.yaml"))
    assert {cell.target: cell.mode.name for cell in plan.cells} == {"local": "fifo", "box": "pinned"}
    assert len(plan.cells) == 2


def test_the_mode_is_one_in_which_others_are_kept_away_where_that_can_be_had() -> None:
    facts = machine(4, isolated=(3,))
    rights = {"root": False, "sys_nice": False, "rtprio_limit": 0}
    assert best_mode({**facts, "privileges": {"root": True, "sys_nice": True}}, None, sensitivity.MODES)[0] == "fifo"
    assert best_mode({**facts, "privileges": rights}, None, sensitivity.MODES)[0] == "pinned"


def test_a_target_that_cannot_be_asked_is_left_to_its_lane(tmp_path: Path) -> None:
    broken = {"address": "127.0.0.1", "port": 1, "disabled": "PSU dead"}
    (tmp_path / "lab.yaml").write_text(json.dumps({"targets": {"box": broken}}))
    target = load_inventory(tmp_path / "lab.yaml").targets["box"]
    assert sensitivity.modes_of([target]) == {"box": "fifo"}


def test_runs_add_up_and_the_bound_says_what_they_prove(tmp_path: Path) -> None:
    execution = fake_sense.execution(tmp_path)
    kinds = {"membarrier": 150, "signal": 100, "none": 20}
    fake_sense.run(execution, 1, kinds=kinds)
    assert code_of(execution) == 1
    fake_sense.run(execution, 2, kinds={"membarrier": 150, "signal": 100}, holds=False, state="suspect")
    entry = kept(execution)["targets"]["local"]
    assert entry["runs"] == {"finished": 2, "valid": 1, "suspect": 1, "invalid": 0, "scored": 2, "complete": 1}
    by_kind = {kind["kind"]: kind for kind in entry["kinds"]}
    assert list(by_kind) == ["membarrier", "signal"]
    assert (by_kind["membarrier"]["found"], by_kind["membarrier"]["verdict"]) == (300, "met")
    assert by_kind["membarrier"]["recall"] == pytest.approx(0.05 ** (1 / 300))
    assert (by_kind["signal"]["effective"], by_kind["signal"]["verdict"]) == (200, "too few")
    assert entry["verdict"] == "too few"
    assert entry["identity"]["kernel_release"] == "6.18.5-rt2"
    assert (entry["level"], entry["threshold_ns"], entry["mode"]) == ("tracepoints", 300, "pinned")


def test_what_is_missed_and_what_is_false_is_not_met(tmp_path: Path) -> None:
    execution = fake_sense.execution(tmp_path)
    fake_sense.run(execution, kinds={"membarrier": 300, "syscall": 300}, missed={"syscall": 2}, false=30)
    membarrier, syscall = kept(execution)["targets"]["local"]["kinds"]
    assert (membarrier["named"], membarrier["false"], membarrier["verdict"]) == (330, 30, "below")
    assert (syscall["missed"], syscall["called"], syscall["verdict"]) == (2, {"unexplained": 2}, "too few")
    assert code_of(execution) == 1


def test_enough_is_enough(tmp_path: Path) -> None:
    execution = fake_sense.execution(tmp_path)
    heard: list[tuple[str, int]] = []
    watch = Watch(execution, lambda target, found: heard.append((target, found.scores[0].found)))
    stored = {"kind": "run-stored", "target": "local"}
    fake_sense.run(execution, 1, kinds={"membarrier": 400})
    watch.listen(stored)
    assert not watch.stop
    fake_sense.run(execution, 2, kinds={"membarrier": 400})
    watch.listen({**stored, "kind": "run-started"})
    assert not watch.stop
    watch.listen(stored)
    assert watch.stop
    assert not watch.stop.at_once
    assert heard == [("local", 400), ("local", 800)]
    assert code_of(execution, stopped="enough") == 0


def test_one_target_is_not_stopped_because_another_has_enough(tmp_path: Path) -> None:
    execution = fake_sense.execution(tmp_path, ("local", "box"))
    watch = Watch(execution)
    fake_sense.run(execution, target="box", kinds={"membarrier": 800})
    watch.listen({"kind": "run-stored", "target": "box"})
    assert not watch.stop
    watch.listen({"kind": "lane-finished", "target": "local"})
    assert watch.stop


def test_invalid_and_broken_runs_are_not_scored(tmp_path: Path) -> None:
    execution = fake_sense.execution(tmp_path)
    fake_sense.run(execution, 1, state="invalid")
    broken = fake_sense.run(execution, 2)
    (broken / "disturbances.jsonl.gz").write_bytes(b"junk")
    foreign = fake_sense.run(execution, 3)
    document = json.loads((foreign / "run.json").read_text())
    del document["results"][0]["disturbances"]
    write_file(foreign / "run.json", json.dumps(document).encode())
    endless = fake_sense.run(execution, 4)
    document = json.loads((endless / "run.json").read_text())
    document["results"][0]["duration_ns"] = float("inf")
    write_file(endless / "run.json", json.dumps(document).encode())
    found = scored(execution, "local")
    assert (found.finished, found.usable, found.sensitivity.verdict()) == (4, 0, "nothing")
    assert code_of(execution) == 4


def test_a_disabled_target_is_not_asked_for_its_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("somebody asked it")

    monkeypatch.setattr(sensitivity, "open_session", asked)
    (tmp_path / "i.yaml").write_text("targets: {box: {address: box, disabled: no cable}}\n")
    assert sensitivity.modes_of([load_inventory(tmp_path / "i.yaml").targets["box"]]) == {"box": "fifo"}


def test_gaps_are_held_against_disturbances_of_their_own_cpu(tmp_path: Path) -> None:
    folder = fake_sense.run(fake_sense.execution(tmp_path), kinds={"membarrier": 2})
    elsewhere = b'{"cpu":4,"at_ns":1,"gap_ns":2}\n{"cpu":4,"at_ns":3,"gap_ns":2}\n'
    file = folder / "gaps.jsonl.gz"
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()) + elsewhere))
    [observed] = sensitivity.observed_of(load_run(folder))
    assert {line["cpu"] for line in observed.gaps} == {3}


@pytest.mark.parametrize(
    ("said", "complete"),
    [
        ({}, 1),
        ({"conservation": {"holds": False}}, 0),
        ({"conservation": {"holds": None}, "ring": {"lost": 2}}, 0),
        ({"conservation": {"holds": None}, "ring": {"missing": 2}}, 0),
        ({"conservation": None, "ring": None}, 1),  # nobody counted
    ],
)
def test_what_says_that_events_are_missing(tmp_path: Path, said: dict[str, Any], complete: int) -> None:
    execution = fake_sense.execution(tmp_path)
    folder = fake_sense.run(execution)
    document = json.loads((folder / "run.json").read_text())
    document["results"][0]["attribution"].update(said)
    write_file(folder / "run.json", json.dumps(document).encode())
    found = scored(execution, "local")
    assert (found.usable, found.complete) == (1, complete)


def test_why_a_kind_is_not_there_is_said_as_the_newest_run_says_it(tmp_path: Path) -> None:
    execution = fake_sense.execution(tmp_path)
    fake_sense.run(execution, 1, unavailable={"tlb": "of the first"})
    fake_sense.run(execution, 2, unavailable={"tlb": "of the second"})
    assert scored(execution, "local").about.unavailable == {"tlb": "of the second"}


def test_nothing_measured_is_never_a_pass(tmp_path: Path) -> None:
    execution = fake_sense.execution(tmp_path)
    assert code_of(execution, finished=0, usable=0) == 4
    failed = {"finished": 0, "usable": 0, "failure": "cannot connect", "fault": "infrastructure"}
    assert code_of(execution, **failed) == 3
    entry = kept(execution, **failed)["targets"]["local"]
    assert (entry["verdict"], entry["reason"], entry["kinds"]) == ("nothing", "cannot connect", [])
    fake_sense.run(execution, level="nothing", events=())
    blind = kept(execution)["targets"]["local"]
    assert (blind["verdict"], blind["reason"]) == ("nothing", "no tracefs")
    assert blind["unavailable"] == {"membarrier": "no event that could be opened shows it (level nothing)"}
    assert code_of(execution) == 4


def test_a_run_that_could_not_look_blinds_no_other(tmp_path: Path) -> None:
    execution = fake_sense.execution(tmp_path)
    fake_sense.run(execution, 1)
    fake_sense.run(execution, 2, level="nothing", events=())
    entry = kept(execution)["targets"]["local"]
    assert (entry["verdict"], entry["level"], entry["level_reason"]) == ("met", "tracepoints", None)
    assert (entry["kinds"][0]["made"], entry["kinds"][0]["not_judged"]) == (600, 300)


LISTS = st.lists(st.none(), max_size=1) | st.just({})
JUNK = st.none() | st.integers() | st.just(10**400) | st.text(max_size=3) | LISTS | st.floats()
KEYS = ("cpu", "kind", "at_ns", "end_ns", "effect_ns", "name", "gap_ns", "class", "cause", "chain", "sender", "more")


RESULT = ("attribution", "disturbances", "detail", "gaps", "duration_ns", "cpu")


@settings(max_examples=60)
@given(
    lines=st.lists(st.dictionaries(st.sampled_from(KEYS), JUNK), max_size=3),
    keys=st.dictionaries(st.sampled_from(RESULT), JUNK, max_size=2),
    name=st.sampled_from(["gaps", "disturbances"]),
)
def test_whatever_a_target_sends_it_is_scored_or_passed_over(
    lines: list[dict[str, Any]], keys: dict[str, Any], name: str, one: Path
) -> None:
    execution = executions.load(one)
    (run,) = (one / "runs" / "local").iterdir()
    before = {path: path.read_bytes() for path in run.iterdir()}
    try:
        document = json.loads(before[run / "run.json"])
        document["results"][0].update(keys)
        (run / "run.json").write_text(json.dumps(document))
        whole = gzip.decompress(before[run / f"{name}.jsonl.gz"])
        more = "".join(json.dumps({"cpu": 3, **line}) + "\n" for line in lines)
        (run / f"{name}.jsonl.gz").write_bytes(gzip.compress(whole + more.encode()))
        entry = document_of(execution, {"local": scored(execution, "local")}, outcome())["targets"]["local"]
        assert entry["runs"]["finished"] == 1
        assert entry["runs"]["scored"] in (0, 1)
    finally:
        for path, content in before.items():
            path.write_bytes(content)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An execution of one run."""
    execution = fake_sense.execution(tmp_path_factory.mktemp("one"))
    fake_sense.run(execution, kinds={"membarrier": 5, "signal": 5})
    return execution.path


def test_a_mistake_and_a_signal_come_first(tmp_path: Path) -> None:
    execution = fake_sense.execution(tmp_path)
    fake_sense.run(execution, missed={"membarrier": 30})
    assert code_of(execution) == 1
    assert code_of(execution, failure="x", fault="user") == 2
    interrupted = Outcome((), 1.0, signum=2)
    assert exit_code(interrupted, {"local": scored(execution, "local")}) == 130


# -- for reports ----------------------------------------------------------------------------------------------------

IDENTITY = {"build_id": "8f3b21", "kernel_release": "6.18.5-rt2", "machine_id": "5f1c"}


def test_the_newest_of_that_kernel_and_machine_is_taken(tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert store.newest(results, "local", IDENTITY) is None
    older = fake_sense.execution(tmp_path)
    fake_sense.run(older, kinds={"membarrier": 299})
    kept(older)
    newer = fake_sense.execution(tmp_path)
    fake_sense.run(newer, kinds={"membarrier": 1_198, "signal": 300})
    kept(newer)
    empty = fake_sense.execution(tmp_path)
    fake_sense.run(empty, level="nothing", events=())
    kept(empty)
    found = store.newest(results, "local", IDENTITY)
    assert found is not None
    assert (found.path.parent, found.level, found.verdict) == (newer.path, "tracepoints", "met")
    assert [(kind.kind, kind.found) for kind in found.seen] == [("membarrier", 1_198), ("signal", 300)]
    assert store.newest(results, "other", IDENTITY) is None
    assert store.newest(results, "local", {**IDENTITY, "build_id": "other"}) is None
    assert store.newest(results, "local", {**IDENTITY, "machine_id": "other"}) is None
    assert store.newest(results, "local", {}) is None
    # Without a build id the version decides, then the release.
    assert store.newest(results, "local", {"kernel_release": "6.18.5-rt2"}) == found


def test_a_broken_file_is_named_and_passed_over(tmp_path: Path) -> None:
    execution = fake_sense.execution(tmp_path)
    fake_sense.run(execution)
    kept(execution)
    for name, text in (
        ("20990101T000000Z", "{"),
        ("20990102T000000Z", '{"schema": 1}'),
        ("20990103T000000Z", '{"schema": 9}'),
        ("20990104T000000Z", f'{{"schema": 1, "measured": "x", "bar": {"9" * 400}, "targets": {{}}}}'),
    ):
        write_file(tmp_path / "results" / "sensitivity" / name / "sensitivity.json", text.encode())
    warnings: list[str] = []
    found = store.newest(tmp_path / "results", "local", IDENTITY, warnings)
    assert found is not None
    assert found.path.parent == execution.path
    assert len(warnings) == 4
    assert all("2099010" in warning for warning in warnings)


def test_the_sentence(tmp_path: Path) -> None:
    assert store.sentence(None, "nuc") == (
        "sensitivity: never measured on this kernel: isolbench doctor --sensitivity nuc"
    )
    execution = fake_sense.execution(tmp_path)
    fake_sense.run(execution, kinds={"membarrier": 1_198})
    day = kept(execution)["measured"][:10]
    found = store.newest(tmp_path / "results", "local", IDENTITY)
    assert store.sentence(found, "local") == (
        "sensitivity: found 1,198 of 1,198 disturbances of kind membarrier, >= 99.75 %; named rightly >= 99.75 %; "
        f"level tracepoints, measured {day} on this kernel"
    )
    worse = fake_sense.execution(tmp_path)
    fake_sense.run(worse, kinds={"membarrier": 400, "signal": 400}, missed={"signal": 4}, holds=False)
    kept(worse)
    said = store.sentence(store.newest(tmp_path / "results", "local", IDENTITY), "local")
    assert "found 796 of 800 disturbances of 2 kinds, least of signal: 396 of 400, >= 97.7" in said
    assert "the bar of 99.00 % is not shown for signal" in said
    assert "events were missing in 1 of its 1 runs" in said
    bad = fake_sense.execution(tmp_path)
    fake_sense.run(bad, kinds={"membarrier": 400, "signal": 400}, missed={"signal": 40})
    kept(bad)
    said = store.sentence(store.newest(tmp_path / "results", "local", IDENTITY), "local")
    assert "the bar of 99.00 % is missed by signal;" in said  # BELOW, in the table


def test_bounds_are_rounded_down() -> None:
    assert [store.percent(share) for share in (0.99999, 0.9975, 0.29, 1.0, 0.0)] == [
        "99.99 %", "99.75 %", "29.00 %", "100.00 %", "0.00 %",
    ]  # fmt: skip


def test_the_identity_is_of_a_run(tmp_path: Path) -> None:
    execution = fake_sense.execution(tmp_path)
    fake_sense.run(execution)
    identity = kept(execution)["targets"]["local"]["identity"]
    assert set(identity) == set(store.IDENTITY)
    assert (identity["arch"], identity["build_id"]) == (fake.FACTS["arch"], fake.FACTS["kernel"]["build_id"])


def test_every_key_is_named_in_the_documents(tmp_path: Path) -> None:
    execution = fake_sense.execution(tmp_path)
    fake_sense.run(execution)
    document = kept(execution)
    entry = document["targets"]["local"]
    text = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()
    section = text.partition("\n## sensitivity.json\n")[2].partition("\n## ")[0]
    keys = {*document, *entry, *entry["runs"], *entry["kinds"][0], *entry["identity"]}
    assert sorted(keys - set(re.findall(r"`([^`\n]+)`", section))) == []
    assert f"| `sensitivity.json` | {store.SCHEMA} |" in text
