# SPDX-License-Identifier: Apache-2.0
"""The ids of cells are for ever: results of years are one series by them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from harness.agent.spec import SAFE_NAME, LoadSpec, ModeSpec
from harness.plan.cells import asked, cell_id

ARGV = LoadSpec("disk", "argv", ["dd", "if=/dev/zero"])


def name(**changes: Any) -> str:
    parts: dict[str, Any] = {
        "target": "nuc",
        "bench": "gap",
        "params": {},
        "mode": ModeSpec("shared"),
        "load": LoadSpec("idle"),
        "settle_ns": 1_000_000_000,
        "duration_ns": 10_000_000_000,
        **changes,
    }
    return cell_id(parts["bench"], parts["mode"].name, parts["load"].name, asked(**parts))


GOLDEN: list[tuple[dict[str, Any], str, str]] = [
    ({}, "gap.shared.idle", '{"bench":"gap","duration_ns":10000000000,"target":"nuc"}'),
    (
        {"mode": ModeSpec("fifo", "pinned", "fifo:1"), "load": LoadSpec("spin", "spin")},
        "gap.fifo.spin",
        '{"bench":"gap","duration_ns":10000000000,"load":"spin","mode":{"sched":"fifo:1","where":"pinned"},"target":"nuc"}',
    ),
    (
        {"load": ARGV, "params": {"threshold": 5000}, "settle_ns": 0},
        "gap.shared.disk",
        (
            '{"bench":"gap","duration_ns":10000000000,"load":["dd","if=/dev/zero"],"params":{"threshold":5000},'
            '"settle_ns":0,"target":"nuc"}'
        ),
    ),
]

#: What came later, each left out where its default is asked for.
LATER: list[tuple[dict[str, Any], str, str]] = [
    ({"cpus": "one", "control": False, "tune": ()}, *GOLDEN[0][1:]),
    ({"kernel": "default", "boot": "plain"}, *GOLDEN[0][1:]),
    ({"kernel": "next"}, "gap.shared.idle", '{"bench":"gap","duration_ns":10000000000,"kernel":"next","target":"nuc"}'),
    (
        {"kernel": "next", "boot": "quiet"},
        "gap.shared.idle",
        '{"bench":"gap","boot":"quiet","duration_ns":10000000000,"kernel":"next","target":"nuc"}',
    ),
    ({"cpus": "all"}, "gap.shared.idle", '{"bench":"gap","cpus":"all","duration_ns":10000000000,"target":"nuc"}'),
    ({"control": True}, "gap.shared.idle", '{"bench":"gap","control":true,"duration_ns":10000000000,"target":"nuc"}'),
    ({"attribution": "off"}, *GOLDEN[0][1:]),
    (
        {"attribution": "perf"},
        "gap.shared.idle",
        '{"attribution":"perf","bench":"gap","duration_ns":10000000000,"target":"nuc"}',
    ),
    (
        {"tune": ("thp", "ksm")},  # in whatever order they are named
        "gap.shared.idle",
        '{"bench":"gap","duration_ns":10000000000,"target":"nuc","tune":["ksm","thp"]}',
    ),
]


@pytest.mark.parametrize(("changes", "shown", "canonical"), GOLDEN + LATER)
def test_golden_ids(changes: dict[str, Any], shown: str, canonical: str) -> None:
    assert name(**changes) == f"{shown}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def test_one_id_in_full() -> None:
    assert name() == "gap.shared.idle-88bad869b241"


def test_each_thing_asked_for_makes_another_cell() -> None:
    names = [
        name(),
        name(target="box"),
        name(bench="wake"),
        name(params={"threshold": 2000}),
        name(mode=ModeSpec("pinned", "pinned")),
        name(load=LoadSpec("spin", "spin")),
        name(load=ARGV),
        name(settle_ns=0),
        name(duration_ns=1),
        name(cpus="all"),
        name(control=True),
        name(attribution="perf"),
        name(tune=["thp"]),
        name(tune=["thp", "ksm"]),
        name(kernel="next"),
        name(boot="next"),
    ]
    assert len({text.rpartition("-")[2] for text in names}) == len(names)


def test_names_of_modes_and_loads_are_shown_and_not_hashed() -> None:
    one, two = (name(mode=ModeSpec(text, "pinned", "fifo:50")) for text in ("fifo50", "pinned-fifo50"))
    assert one != two
    assert one.rpartition("-")[2] == two.rpartition("-")[2]


def test_the_longest_names_make_a_safe_run_name() -> None:
    text = name(bench="b" * 120, mode=ModeSpec("m" * 120), load=LoadSpec("l" * 120, "argv", ["x"]))
    assert SAFE_NAME.fullmatch(f"{text}-r99999-a999")
