# SPDX-License-Identifier: Apache-2.0
"""Run folders: whole or not there, written once, and never trusting what a target says."""

from __future__ import annotations

import copy
import errno
import gzip
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.agent.spec import SpecError
from harness.errors import EnvironmentFault, StorageFull, UserError
from harness.store import files as store_files
from harness.store import runs
from harness.store.files import BrokenResult, NewerSchema
from harness.store.hdr import HistogramError
from harness.store.record import CorruptTransfer
from harness.store.runs import iter_attempts, iter_runs, load_run, run_dirs, write_attempt, write_run

from ..report import fake_execution as fake


@pytest.fixture
def made():
    histogram = fake.counts(np.random.default_rng(1), quiet=40, noise=[(2_500, 0.4, 0, 400)])
    return fake.record(histogram=histogram)


def tree(path: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p.relative_to(path)): (p.read_bytes(), p.stat().st_mtime_ns) for p in path.rglob("*") if p.is_file()}


def resigned(record, files):
    """The record with the files' hashes as they are now: what a lying target would send."""
    record = copy.deepcopy(record)
    record["files"] = [{"name": n, "size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()]
    return record, files


def test_a_run_is_kept_with_metrics_and_identity(tmp_path, made):
    record, files = made
    folder = write_run(tmp_path, "nuc", record, files, fake.context())
    assert folder == tmp_path / "runs" / "nuc" / record["run"]
    assert sorted(p.name for p in folder.iterdir()) == ["gaps.jsonl.gz", "histograms.hlog", "log.txt", "run.json"]
    run = load_run(folder)
    said = record["results"][0]["histograms"]["gap_ns"]
    metric = run.metrics[0]
    assert {key: metric[key] for key in ("metric", "kind", "cpu", "unit", "better", "gate")} == {
        "metric": "gap_ns", "kind": "histogram", "cpu": 3, "unit": "ns", "better": "lower", "gate": "p99.99",
    }  # fmt: skip
    assert (metric["recorded"], metric["min"], metric["max"]) == (said["recorded"], said["min"], said["max"])
    assert metric["quantiles"] == run.counts("gap_ns", 3).quantiles(said["max"])
    rate = next(m for m in run.metrics if m["metric"] == "gap_rate_hz")
    assert rate == {
        "metric": "gap_rate_hz", "kind": "scalar", "cpu": 3, "unit": "Hz", "better": "lower",
        "value": pytest.approx(39.3),
        "upper": pytest.approx(39.6), "count": 393,
    }  # fmt: skip
    identity = run.document["identity"]
    assert identity["kernel_release"] == fake.FACTS["kernel"]["release"]
    assert identity["cmdline"] == fake.FACTS["kernel"]["cmdline"]
    assert identity["mode"]["tasks"] == {"3": {"affinity": "3", "policy": "other", "priority": 0}}
    assert identity["knobs"] == {"irq-affinity": "0-2"}
    assert (identity["agent_sha256"], identity["probe_sha256"]) == ("cd" * 32, "ab" * 32)
    for name, sha256 in run.document["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
    assert run.state == "valid"


def test_the_runs_own_kernel_counts_not_the_one_at_first_contact(tmp_path, made):
    record, files = made
    record["facts_before"]["kernel"] = "6.19.0"
    folder = write_run(tmp_path, "nuc", record, files, fake.context())
    assert load_run(folder).document["identity"]["kernel_release"] == "6.19.0"


ARTEFACT = {"name": "next", "sha256": "ee" * 32, "config_sha256": "c1" * 32, "build_id": "aa" * 20}


def test_an_installed_kernel_is_known_by_what_it_was_made_of(tmp_path, made):
    record, files = made
    about = replace(fake.context(), proof={"boot_id": "b-1", "artefact": ARTEFACT})
    identity = load_run(write_run(tmp_path, "nuc", record, files, about)).document["identity"]
    assert identity["artefact_sha256"] == "ee" * 32
    assert identity["config_sha256"] == "c1" * 32  # a package's kernel does not say it of itself
    lay_there = load_run(write_run(tmp_path, "pi", record, files, fake.context())).document["identity"]
    assert (lay_there["artefact_sha256"], lay_there["config_sha256"]) == (None, None)


@pytest.mark.parametrize(("version", "build_id"), [(None, fake.FACTS["kernel"]["build_id"]), ("#2 SMP", None)])
def test_a_run_of_an_earlier_boot_has_nothing_of_the_later_one(tmp_path, made, version, build_id):
    """It was kept on the target while that booted: what is known by now is known of another boot."""
    record, files = made
    record["facts_before"] = {**record["facts_before"], "boot_id": "b-0"}
    if version:
        record["facts_before"]["kernel_version"] = version
    about = replace(fake.context(), proof={"boot_id": "b-1", "artefact": ARTEFACT})
    identity = load_run(write_run(tmp_path, "nuc", record, files, about)).document["identity"]
    assert (identity["artefact_sha256"], identity["cmdline"], identity["build_id"]) == (None, None, build_id)


def test_what_came_to_each_cpu_is_told_in_counts(tmp_path, made):
    record, files = made
    record["facts_before"]["interrupts"] = {"3": {"LOC": 1000, "36": 7}, "0": {"LOC": 5}}
    record["facts_after"]["interrupts"] = {"3": {"LOC": 1002, "36": 7}, "0": {"LOC": 505, "9": 1}}
    found = load_run(write_run(tmp_path, "nuc", record, files, fake.context())).document["interrupts"]
    assert found == {"3": {"LOC": 2}, "0": {"LOC": 500, "9": 1}}


def test_counts_that_are_none_are_no_run(tmp_path, made):
    record, files = made
    record["facts_after"]["interrupts"] = {"3": {"LOC": "many"}}
    with pytest.raises(SpecError, match="not an integer: 'many'"):
        write_run(tmp_path, "nuc", record, files, fake.context())


def test_what_the_probe_says_must_be_equal_is_identity(tmp_path, made):
    record, files = made
    record["results"][0]["identity"] = {"steps": 16384, "huge_pages": True}
    found = load_run(write_run(tmp_path, "nuc", record, files, fake.context())).document["identity"]
    assert found["probe"] == {"3": {"steps": 16384, "huge_pages": True}}


def test_identity_does_not_depend_on_where_the_task_happened_to_be(tmp_path, made):
    record, files = made
    first = load_run(write_run(tmp_path / "a", "nuc", record, files, fake.context())).document["identity"]
    for task in record["effective"]["tasks"].values():
        task["start"]["cpu"] = 77
    second = load_run(write_run(tmp_path / "b", "nuc", record, files, fake.context())).document["identity"]
    assert first == second


def test_the_same_run_gives_the_same_bytes(tmp_path, made):
    contents = [{k: v[0] for k, v in tree(write_run(tmp_path / n, "nuc", *made, fake.context())).items()} for n in "ab"]
    assert contents[0] == contents[1]


def test_a_finished_run_is_never_written_again(tmp_path, made):
    record, files = made
    folder = write_run(tmp_path, "nuc", record, files, fake.context())
    before = tree(tmp_path)
    record["elapsed_ns"] += 1
    assert write_run(tmp_path, "nuc", record, files, fake.context()) == folder
    assert tree(tmp_path) == before


def test_gaps_carry_their_cpu(tmp_path, made):
    folder = write_run(tmp_path, "nuc", *made, fake.context())
    found = list(runs.read_gaps(folder))
    sent = [json.loads(line) for line in made[1]["gaps.cpu3.jsonl"].splitlines()]
    assert sent
    assert found == [{"cpu": 3, **gap} for gap in sent]
    assert (folder / "gaps.jsonl.gz").read_bytes()[4:8] == b"\0" * 4  # no time in it


def test_gaps_of_an_unpinned_task_have_no_cpu(tmp_path):
    histogram = fake.counts(np.random.default_rng(1), quiet=40, noise=[(2_500, 0.4, 0, 3)])
    folder = write_run(tmp_path, "nuc", *fake.record(histogram=histogram, cpu=None), fake.context())
    assert [gap["cpu"] for gap in runs.read_gaps(folder)] == [None] * 3
    assert load_run(folder).counts("gap_ns", None).total == histogram.total


def test_other_events_are_kept_by_their_name(tmp_path, made):
    record, files = made
    late = b'{"at_ns":1000,"wake_ns":70}\n'
    files = {**files, "late.cpu3.jsonl": late}
    record["files"].append({"name": "late.cpu3.jsonl", "size": len(late), "sha256": hashlib.sha256(late).hexdigest()})
    folder = write_run(tmp_path, "nuc", record, files, fake.context())
    assert list(runs.read_events(folder, "late")) == [{"cpu": 3, "at_ns": 1000, "wake_ns": 70}]
    assert len(list(runs.read_gaps(folder))) == len(files["gaps.cpu3.jsonl"].splitlines()) > 0
    assert "late.jsonl.gz" in load_run(folder).document["files"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 200, "a\0b", "a\nb"])
def test_hostile_names_are_refused(tmp_path, made, name):
    record, files = made
    with pytest.raises(SpecError):
        write_run(tmp_path, name, record, files, fake.context())
    with pytest.raises(SpecError):
        write_run(tmp_path, "nuc", {**record, "run": name}, files, fake.context())
    record["files"].append({"name": name, "size": 1, "sha256": "00"})
    with pytest.raises(SpecError):
        write_run(tmp_path, "nuc", record, files, fake.context())
    assert list(tmp_path.rglob("*")) == []


def test_a_metric_cannot_leave_the_log(tmp_path, made):
    record, files = made
    histograms = record["results"][0]["histograms"]
    histograms["gap_ns,0,0,0,x\nTag=y"] = histograms.pop("gap_ns")
    with pytest.raises(SpecError):
        write_run(tmp_path, "nuc", record, files, fake.context())


def test_a_record_of_another_run_is_refused(tmp_path, made):
    record, files = made
    with pytest.raises(SpecError, match="says that it is"):
        write_run(tmp_path, "nuc", {**record, "run": "gap.other.idle-000000000001-r1"}, files, fake.context())


def test_a_failed_run_is_no_run(tmp_path, made):
    record, files = made
    with pytest.raises(SpecError, match="attempt"):
        write_run(tmp_path, "nuc", {**record, "status": "failed", "reason": "x", "fault": "bug"}, files, fake.context())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(tmp_path, made, value):
    record, files = made
    record["load"]["cpu_share"] = value
    with pytest.raises(SpecError, match="JSON"):
        write_run(tmp_path, "nuc", record, files, fake.context())
    assert not (tmp_path / "runs" / "nuc").exists()


def test_what_arrived_damaged_missing_or_unasked_is_refused(tmp_path, made):
    record, files = made
    name = "gap_ns.cpu3.hdr"
    with pytest.raises(CorruptTransfer, match="arrived damaged"):
        write_run(tmp_path, "nuc", record, {**files, name: files[name] + b"x"}, fake.context())
    with pytest.raises(CorruptTransfer, match="did not arrive"):
        write_run(tmp_path, "nuc", record, {k: v for k, v in files.items() if k != name}, fake.context())
    with pytest.raises(CorruptTransfer, match="does not list it"):
        write_run(tmp_path, "nuc", record, {**files, "more.txt": b""}, fake.context())
    assert not (tmp_path / "runs").exists()


def test_a_broken_histogram_with_a_true_hash_is_refused(tmp_path, made):
    record, files = made
    record, files = resigned(record, {**files, "gap_ns.cpu3.hdr": b"rubbish"})
    with pytest.raises(HistogramError):
        write_run(tmp_path, "nuc", record, files, fake.context())


def test_counts_that_are_not_conserved_make_a_run_suspect(tmp_path, made):
    record, files = made
    record["results"][0]["histograms"]["gap_ns"]["recorded"] += 1
    run = load_run(write_run(tmp_path, "nuc", record, files, fake.context()))
    assert run.state == "suspect"
    assert run.document["validity"]["reasons"][0]["rule"] == "counts-not-conserved"


def test_an_invalid_run_does_not_get_better_by_it(tmp_path, made):
    record, files = made
    record["validity"] = {"state": "invalid", "reasons": [fake.THROTTLED]}
    record["results"][0]["histograms"]["gap_ns"]["recorded"] += 1
    run = load_run(write_run(tmp_path, "nuc", record, files, fake.context()))
    assert run.state == "invalid"
    assert len(run.document["validity"]["reasons"]) == 2


def full_disk(monkeypatch, after: int, number: int = errno.ENOSPC):
    """The disk is full from the ``after``-th file on."""
    real, seen = store_files.write_synced, []

    def write(path: Path, data: bytes) -> None:
        seen.append(path)
        if len(seen) > after:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(number, os.strerror(number))
        real(path, data)

    monkeypatch.setattr(store_files, "write_synced", write)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing_behind(tmp_path, made, monkeypatch, after, number):
    full_disk(monkeypatch, after, number)
    with pytest.raises(StorageFull, match=r"runs/nuc/gap\.shared\.idle-000000000001-r1: ") as caught:
        write_run(tmp_path, "nuc", *made, fake.context())
    assert caught.value.advice
    assert list((tmp_path / "runs" / "nuc").iterdir()) == []
    monkeypatch.undo()
    assert load_run(write_run(tmp_path, "nuc", *made, fake.context())).state == "valid"


def test_another_error_of_the_disk_names_the_path(tmp_path, made, monkeypatch):
    full_disk(monkeypatch, 1, errno.EIO)
    with pytest.raises(EnvironmentFault, match=r"runs/nuc/.*Input/output error"):
        write_run(tmp_path, "nuc", *made, fake.context())


def test_run_json_is_written_last(tmp_path, made, monkeypatch):
    order = []
    real = store_files.write_synced
    monkeypatch.setattr(store_files, "write_synced", lambda path, data: (order.append(path.name), real(path, data)))
    write_run(tmp_path, "nuc", *made, fake.context())
    assert order[-1] == "run.json"
    assert len(order) == 4


def test_a_folder_in_the_way_is_named_and_kept(tmp_path, made):
    folder = tmp_path / "runs" / "nuc" / made[0]["run"]
    folder.mkdir(parents=True)
    (folder / "notes").write_text("mine")
    with pytest.raises(BrokenResult, match=r"exists, but has no run\.json"):
        write_run(tmp_path, "nuc", *made, fake.context())
    assert (folder / "notes").read_text() == "mine"


def test_what_a_crash_left_is_not_seen(tmp_path, made):
    folder = write_run(tmp_path, "nuc", *made, fake.context())
    left = folder.parent / ".tmp-gap.x-r1-abcd"
    left.mkdir()
    (left / "run.json").write_text("{")
    warnings: list[str] = []
    assert [run.name for run in iter_runs(tmp_path, warnings)] == [folder.name]
    assert warnings == []


def test_a_long_log_keeps_both_ends():
    log = b"first\n" + b"x" * (3 * runs.LOG_HALF) + b"\nlast"
    kept = runs.bounded(log)
    assert kept.startswith(b"first\n")
    assert kept.endswith(b"\nlast")
    assert str(len(log) - 2 * runs.LOG_HALF).encode() + b" bytes left out" in kept
    assert len(kept) < 2 * runs.LOG_HALF + 100
    assert runs.bounded(b"x" * (2 * runs.LOG_HALF)) == b"x" * (2 * runs.LOG_HALF)


def test_runs_are_found_from_everywhere_in_order(tmp_path):
    campaign = tmp_path / "nightly"
    for execution in ("20261120T010000Z", "20261121T010000Z"):
        for target in ("nuc", "box"):
            for repeat in (2, 1):
                fake.simple_run(campaign / execution, target, repeat=repeat)
    one = campaign / "20261120T010000Z"
    assert len(list(iter_runs(tmp_path))) == len(list(iter_runs(campaign))) == 8
    assert [(run.target, run.document["repeat"]) for run in iter_runs(one)] == [
        ("box", 1), ("box", 2), ("nuc", 1), ("nuc", 2),
    ]  # fmt: skip
    assert len(list(iter_runs(one / "runs" / "nuc"))) == 2
    assert len(list(iter_runs(next(run_dirs(one))))) == 1
    with pytest.raises(UserError, match="no such folder"):
        list(iter_runs(tmp_path / "none"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: b"{",
        lambda d: b"[]",
        lambda d: b"\xff",
        lambda d: json.dumps({**d, "schema": "one"}).encode(),
        lambda d: json.dumps({**d, "metrics": 7}).encode(),
        lambda d: json.dumps({**d, "metrics": [{**d["metrics"][0], "recorded": "many"}]}).encode(),
        lambda d: json.dumps({**d, "metrics": [{**d["metrics"][0], "quantiles": {"p50": []}}]}).encode(),
        lambda d: json.dumps({**d, "metrics": [{**d["metrics"][1], "value": True}]}).encode(),
        lambda d: json.dumps({**d, "validity": {"state": "valid", "reasons": ["x"]}}).encode(),
        lambda d: json.dumps({**d, "validity": {"state": "fine"}}).encode(),
        lambda d: json.dumps({k: v for k, v in d.items() if k != "cell"}).encode(),
        lambda d: b"[" * 100_000,
    ],
)
def test_a_broken_run_is_named_and_the_rest_is_read(tmp_path, damage):
    fake.simple_run(tmp_path, repeat=1)
    broken = fake.simple_run(tmp_path, repeat=2) / "run.json"
    broken.write_bytes(damage(json.loads(broken.read_text())))
    warnings: list[str] = []
    assert [run.document["repeat"] for run in iter_runs(tmp_path, warnings)] == [1]
    assert len(warnings) == 1
    assert str(broken) in warnings[0]


def test_a_newer_schema_is_named_and_skipped(tmp_path):
    path = fake.simple_run(tmp_path) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": runs.SCHEMA + 1}))
    with pytest.raises(NewerSchema, match="newer than this isolbench"):
        load_run(path.parent)
    warnings: list[str] = []
    assert list(iter_runs(tmp_path, warnings)) == []
    assert "newer" in warnings[0]


def test_a_broken_log_is_found_when_its_histogram_is_asked_for(tmp_path):
    folder = fake.simple_run(tmp_path)
    (folder / "histograms.hlog").write_text("Tag=gap_ns.cpu3,0,1,2,HISTF\n")
    with pytest.raises(HistogramError):
        load_run(folder).counts("gap_ns", 3)


def test_broken_gaps_are_named(tmp_path):
    folder = fake.simple_run(tmp_path)
    (folder / "gaps.jsonl.gz").write_bytes(gzip.compress(b'{"cpu"'))
    with pytest.raises(BrokenResult, match=r"gaps\.jsonl\.gz"):
        list(runs.read_gaps(folder))
    (folder / "gaps.jsonl.gz").unlink()
    assert list(runs.read_gaps(folder)) == []


def test_a_line_without_end_is_not_held_in_memory(tmp_path):
    folder = fake.simple_run(tmp_path)
    line = b'{"cpu":3,"at_ns":1,"gap_ns":2}\n'
    (folder / "gaps.jsonl.gz").write_bytes(gzip.compress(line + b'{"cpu":3,"name":"%s"}\n' % (b"x" * (1 << 20))))
    gaps = runs.read_gaps(folder)
    assert next(gaps)["gap_ns"] == 2
    with pytest.raises(BrokenResult, match=r"gaps\.jsonl\.gz"):
        next(gaps)


def attempt(tmp_path: Path, **changes):
    options = {
        "cell": "gap.fifo.idle-0123456789ab", "repeat": 2, "attempt": 1, "reason": "it hung", "fault": "environment",
        "context": fake.context(), "log": b"hello\n",
    }  # fmt: skip
    return write_attempt(tmp_path, "nuc", **{**options, **changes})


def test_an_attempt_is_kept_once(tmp_path, made):
    folder = attempt(tmp_path, record=made[0])
    assert folder == tmp_path / "attempts" / "nuc" / "gap.fifo.idle-0123456789ab-r2-a1"
    before = tree(tmp_path)
    assert attempt(tmp_path, reason="something else") == folder
    assert tree(tmp_path) == before
    (document,) = iter_attempts(tmp_path)
    assert (document["reason"], document["fault"], document["attempt"]) == ("it hung", "environment", 1)
    assert document["facts_before"] == made[0]["facts_before"]
    assert (folder / "log.txt").read_bytes() == b"hello\n"


@pytest.mark.parametrize("changes", [{"cell": "../x"}, {"fault": "nobody"}, {"attempt": "1/../.."}])
def test_a_hostile_attempt_is_refused(tmp_path, changes):
    with pytest.raises(SpecError):
        attempt(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_attempt_is_named(tmp_path):
    (attempt(tmp_path) / "attempt.json").write_text("{}")
    attempt(tmp_path, attempt=2)
    warnings: list[str] = []
    assert [each["attempt"] for each in iter_attempts(tmp_path, warnings)] == [2]
    assert "attempt.json" in warnings[0]
