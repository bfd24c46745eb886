# SPDX-License-Identifier: Apache-2.0
"""What holds for many cells is said once, and says of which."""

from __future__ import annotations

import json

import pytest

from harness.report.grouping import compact, failures, findings, missing, universe_of, where
from harness.report.model import build_view
from harness.report.view import Attempt, Unsupported

from . import fake_execution as fake

IDLE, SPIN = ("gap", "idle"), ("gap", "spin")
FIVE = ("gap threshold=5us", "idle")
EVERY = {"shared": {IDLE, SPIN}, "pinned": {IDLE, SPIN}, "fifo": {IDLE, SPIN}}


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (EVERY, "all modes (all loads)"),
        ({"fifo": {IDLE, SPIN}, "pinned": {IDLE, SPIN}}, "pinned, fifo (all loads)"),
        ({"fifo": {SPIN}}, "fifo (load spin)"),
        ({"fifo": {SPIN}, "pinned": {IDLE, SPIN}}, "pinned (all loads); fifo (load spin)"),
        ({"new": {SPIN}}, "new (load spin)"),
    ],
)
def test_where(cells, words):
    assert where(cells, EVERY) == words


def test_where_there_is_but_one_place_it_goes_without_saying():
    assert where({"fifo": {IDLE}}, {"fifo": {IDLE}, "pinned": {IDLE}}) == "fifo"


def test_variants_are_told_apart():
    every = {"fifo": {IDLE, SPIN, FIVE}}
    assert where({"fifo": {FIVE}}, every) == "fifo (gap threshold=5us, load idle)"
    assert where({"fifo": {IDLE, SPIN, FIVE}}, every) == "fifo (all benches, all loads)"
    two = ("gap threshold=5us", "spin")
    assert where({"fifo": {IDLE, two}}, {"fifo": {IDLE, SPIN, FIVE, two}}) == (
        "fifo (gap, load idle; gap threshold=5us, load spin)"
    )


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (
            "not movable: 24 (EACCES), 25 (EACCES), 26 (EACCES), 28 (EACCES), default (EACCES)",
            "not movable: 24-26, 28, default (EACCES)",
        ),
        ("24 (EACCES), 25 (EPERM), 26 (EPERM)", "24 (EACCES), 25-26 (EPERM)"),
        ("not movable: 36 (EPERM)", "not movable: 36 (EPERM)"),
        ("took 3 (or 4) of 5", "took 3 (or 4) of 5"),
    ],
)
def test_lists_of_interrupts_are_short(text, short):
    assert compact(text) == short


def test_a_reason_stands_once_a_target_with_all_its_runs(tmp_path):
    number = 0
    for mode in ("pinned", "fifo"):
        for load in ("idle", "spin"):
            number += 1
            text = f"irq 36 hit CPU 1: {number}"
            fake.simple_run(
                tmp_path, cell=f"gap.{mode}.{load}-{number:012x}", mode=fake.MODES[mode], load=load, state="suspect",
                reasons=[{**fake.STEAL, "text": text}],
            )  # fmt: skip
    (target,) = build_view(tmp_path).targets
    (found,) = findings(target.sections)
    assert (found.where, found.runs, found.state) == ("all modes (all loads)", 4, "suspect")
    assert found.text.startswith("e.g. irq 36 hit CPU 1: ")


def test_targets_that_lack_the_same_are_one():
    lacks = [Unsupported(target, "gap", "fifo", load, "EPERM") for target in ("a", "b") for load in ("idle", "spin")]
    lacks.append(Unsupported("c", "gap", "fifo", "idle", "EPERM"))
    every = {target: {"fifo": {IDLE, SPIN}, "shared": {IDLE, SPIN}} for target in "abc"}
    assert [(each.targets, each.where, each.cells) for each in missing(lacks, every)] == [
        (("a", "b"), "fifo (all loads)", 4),
        (("c",), "fifo (load idle)", 1),
    ]
    assert universe_of([], lacks) == {"fifo": {IDLE, SPIN}}


def test_attempts_that_failed_alike_are_counted():
    def attempt(run: str, reason: str, number: int = 1) -> Attempt:
        return Attempt("nuc", run, number, "environment", reason, "")

    found = failures([
        attempt("gap.fifo.spin-0123-r1", "load spin had 70% of its time"),
        attempt("gap.fifo.spin-0123-r2", "the probe was killed"),
        attempt("gap.fifo.spin-0123-r2", "load spin had 71% of its time", 2),
        attempt("gap.shared.spin-4567-r1", "load spin had 72% of its time"),
    ])  # fmt: skip
    assert [(each.number, each.where, each.reason, each.example) for each in found] == [
        (3, "gap.fifo.spin (2), gap.shared.spin", "e.g. load spin had 70% of its time", "gap.fifo.spin-0123-r1-a1"),
        (1, "gap.fifo.spin", "the probe was killed", "gap.fifo.spin-0123-r2-a1"),
    ]


def test_facts_and_reasons_have_short_lists_too(tmp_path):
    long = "not movable: " + ", ".join(f"{irq} (EACCES)" for irq in (24, 25, 26, 28))
    folder = fake.simple_run(tmp_path, state="suspect", reasons=[{**fake.STEAL, "text": long}])
    document = json.loads((folder / "run.json").read_text())
    document["knobs"] = [{"name": "irq-affinity", "reason": long}]
    (folder / "run.json").write_text(json.dumps(document))
    (target,) = build_view(tmp_path).targets
    assert dict(target.facts)["Knobs"] == "irq-affinity: not movable: 24-26, 28 (EACCES)"
    assert [found.text for found in findings(target.sections)] == ["not movable: 24-26, 28 (EACCES)"]


def test_what_knobs_were_set_to_reads_as_words(tmp_path):
    folder = fake.simple_run(tmp_path)
    document = json.loads((folder / "run.json").read_text())
    document["knobs"] = [
        {"name": "services", "effective": []},
        {"name": "governor", "effective": {"2": "performance", "3": "performance"}},
        {"name": "ksm", "effective": "0"},
        {"name": "numa-balancing", "effective": None, "reason": "there is none", "needed": False},
    ]
    (folder / "run.json").write_text(json.dumps(document))
    (target,) = build_view(tmp_path).targets
    assert dict(target.facts)["Knobs"] == "services = none left · governor = 2 performance, 3 performance · ksm = 0"
