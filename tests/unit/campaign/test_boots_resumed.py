# SPDX-License-Identifier: Apache-2.0
"""A lane that is broken off anywhere goes on where it was: no session is booted but once more than it needs."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.campaign.execution import Execution
from harness.campaign.running import Running
from harness.campaign.work import next_session
from harness.plan import Booted, Plan

from .test_boots import carried_out

SESSIONS, REPEAT = 3, 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Execution:
    return carried_out(tmp_path_factory.mktemp("boots"), sessions=SESSIONS, repeat=REPEAT)


def measure(
    execution: Execution, stops: set[int], *, reboots: bool, refused: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Any]]:
    """What a lane does, in order: ``("boot", …)`` and ``("run", …)``; after each of ``stops`` runs it is broken off.

    ``reboots``: it is sent back to what it boots by itself then; else its boot still runs when the lane goes on.
    """
    done: set[str] = set()
    running = Running()
    ledger = cast("Any", SimpleNamespace(open=lambda run: run not in done))
    while (session := next_session(execution, "nuc", ledger, refused)) is not None:
        if not running.serves(session):
            running = Running(session.booted, session.index, "b")
            yield "boot", (session.booted, session.index)
        for cell, repeat in session.runs:
            done.add(f"{cell.id}-r{repeat}")
            yield "run", (f"{cell.id}-r{repeat}", cell.booted)
            if len(done) in stops:
                # Another process carries on: it knows what lies in the folder.
                running = Running() if reboots else Running.from_json(running.to_json())
                break


def planned(plan: Plan) -> int:
    return len({cell.booted for cell in plan.cells}) * SESSIONS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(1, 47)), st.booleans())
def test_it_boots_at_most_once_more_for_each_time_it_was_broken_off(
    whole: Execution, stops: set[int], reboots: bool
) -> None:
    found = list(measure(whole, stops, reboots=reboots))
    boots = [what for kind, what in found if kind == "boot"]
    runs = [what for kind, what in found if kind == "run"]
    assert [run for run, _ in runs] == [run for kind, (run, _) in measure(whole, set(), reboots=False) if kind == "run"]
    assert len(dict.fromkeys(boots)) == planned(whole.plan)
    assert len(boots) <= planned(whole.plan) + (len(stops) if reboots else 0)
    running: Booted | None = None
    for kind, what in found:  # nothing is ever measured on what was not booted for it
        running = what[0] if kind == "boot" else running
        assert kind == "boot" or what[1] == running


def test_what_a_boot_cannot_do_is_booted_no_more(whole: Execution) -> None:
    """All that one kernel and profile was to measure turns out to be unsupported: it is not booted for nothing."""
    quiet = frozenset(cell.id for cell in whole.plan.cells if cell.booted == Booted("next", "quiet"))
    boots = [what for kind, what in measure(whole, set(), reboots=False, refused=quiet) if kind == "boot"]
    assert len(boots) == planned(whole.plan) - SESSIONS
    assert Booted("next", "quiet") not in {booted for booted, _ in boots}


def test_turns_come_back_the_way_they_went(whole: Execution) -> None:
    boots = [what[0] for kind, what in measure(whole, set(), reboots=False) if kind == "boot"]
    first, second, third = boots[:4], boots[4:8], boots[8:]
    assert second == first[::-1]
    assert sorted(map(str, third)) == sorted(map(str, first))
