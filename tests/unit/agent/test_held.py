# SPDX-License-Identifier: Apache-2.0
"""Who holds attribution's events over a batch: for the runs that need it, if it says so, and ended."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.agent import held as held_module
from harness.agent.held import HeldEvents
from harness.agent.spec import RunSpec

from .specs import spec_of

SAYS = """#!/bin/sh
echo "$*" >> {said}
echo '{{"level": "{level}", "reason": null, "events": 7}}'
exec cat > /dev/null
"""


def wait(until_s: float, fds: tuple[int, ...]) -> set[int]:
    return set(select.select(fds, [], [], 5.0)[0])


def run(attribution: str = "perf", mode: str = "pinned") -> RunSpec:
    return replace(spec_of(mode), attribution=attribution)


@pytest.fixture
def said(tmp_path: Path) -> Path:
    return tmp_path / "said"


def script(tmp_path: Path, text: str, **words: Any) -> str:
    path = tmp_path / "probe"
    path.write_text(text.format(said=tmp_path / "said", **words) if words else text)
    path.chmod(0o700)
    return str(path)


@pytest.fixture
def holding() -> Iterator[list[HeldEvents]]:
    made: list[HeldEvents] = []
    yield made
    for each in made:
        each.close()


def starts(said: Path) -> list[str]:
    return said.read_text().splitlines() if said.exists() else []


def test_one_process_for_all_that_follow_each_other(tmp_path: Path, said: Path, holding: list[HeldEvents]) -> None:
    binary = script(tmp_path, SAYS, level="tracepoints")
    runs = [run(), run(), run("off"), run()]
    held = HeldEvents(runs, wait)
    holding.append(held)
    seen = []
    for spec in runs:
        held.before(spec, binary)
        seen.append(held.told)
    full = {"scope": "cpu", "level": "tracepoints", "events": 7, "reason": None}
    assert seen == [full, full, None, full]
    assert starts(said) == [f"--hold-events cpu --parent {os.getpid()}"] * 2


def test_none_for_a_batch_without(tmp_path: Path, said: Path, holding: list[HeldEvents]) -> None:
    held = HeldEvents([run("off")], wait)
    holding.append(held)
    held.before(run("off"), script(tmp_path, SAYS, level="tracepoints"))
    assert (held.told, starts(said)) == (None, [])


@pytest.mark.parametrize(
    ("runs", "scope"),
    [
        ([run(), run("off", "shared")], "cpu"),
        ([run("perf", "fifo"), run("perf", "shared")], "task"),
    ],
)
def test_tasks_that_are_not_pinned_take_more(
    tmp_path: Path, said: Path, holding: list[HeldEvents], runs: list[RunSpec], scope: str
) -> None:
    held = HeldEvents(runs, wait)
    holding.append(held)
    held.before(runs[0], script(tmp_path, SAYS, level="software"))
    assert starts(said)[0].startswith(f"--hold-events {scope} ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SAYS.replace("null", '"not allowed"'), "not allowed"),
        ("#!/bin/sh\necho 'gap: error: unknown option --hold-events'\nexit 2\n", "gap: error: unknown option"),
        ("#!/bin/sh\nexit 0\n", "it did not say what it holds"),
        ("#!/bin/sh\necho '[1]'; exec sleep 60\n", "[1]"),
        ("#!/nonexistent\n", "it cannot be executed"),
    ],
)
def test_who_holds_nothing_is_asked_once(
    tmp_path: Path, holding: list[HeldEvents], monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    monkeypatch.setattr(held_module, "_CLOSE_S", 0.1)
    held = HeldEvents([run(), run()], wait)
    holding.append(held)
    words = {"level": "nothing"} if "{said}" in text else {}
    for _ in range(2):
        held.before(run(), script(tmp_path, text, **words))
        assert held.told is not None
        assert held.told["level"] == "nothing"
        assert reason in held.told["reason"]
    assert len(starts(tmp_path / "said")) <= 1


def test_a_batch_that_is_cancelled_meanwhile_leaves_nobody(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    binary = script(tmp_path, f"#!/bin/sh\necho $$ > {pid}.new; mv {pid}.new {pid}; echo ready; exec cat\n")

    def told_first(until_s: float, fds: tuple[int, ...]) -> set[int]:
        wait(until_s, fds)
        raise InterruptedError

    held = HeldEvents([run()], told_first)
    with pytest.raises(InterruptedError):
        held.before(run(), binary)
    held.close()
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_one_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_module, "_CLOSE_S", 0.1)
    pid = tmp_path / "pid"
    line = '{"level": "software", "reason": null, "events": 2}'
    held = HeldEvents([run()], wait)
    held.before(run(), script(tmp_path, f"#!/bin/sh\necho $$ > {pid}\necho '{line}'\nexec sleep 600\n"))
    held.close()
    assert held.told is None
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("mode", "level", "waits"),
    [("pinned", "tracepoints", False), ("shared", "tracepoints", True), ("pinned", "software", True)],
)
def test_what_the_kernel_does_a_second_later_is_waited_for(
    tmp_path: Path, holding: list[HeldEvents], monkeypatch: pytest.MonkeyPatch, mode: str, level: str, waits: bool
) -> None:
    """Before a run without attribution: it would be in the middle of that."""
    asked: list[float] = []

    def until(until_s: float, fds: tuple[int, ...]) -> set[int]:
        if fds:
            return wait(until_s, fds)
        asked.append(until_s)
        time.sleep(max(0.0, until_s - time.monotonic()))
        return set()

    monkeypatch.setattr(held_module, "_LATER_S", 0.05)
    held = HeldEvents([run("perf", mode), run("off"), run("off")], until)
    holding.append(held)
    held.before(run("perf", mode), script(tmp_path, SAYS, level=level))
    held.before(run("off"), "")
    held.before(run("off"), "")
    assert bool(asked) == waits
