# SPDX-License-Identifier: Apache-2.0
"""A run that is asked of the agent, for tests to vary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.agent import modes
from harness.agent.spec import LoadSpec, ModeSpec, ProbeSpec, RunSpec

_PLAIN = RunSpec(
    run="c-r1",
    cell="c",
    repeat=1,
    attempt=1,
    bench="gap",
    probe=ProbeSpec("gap", "a" * 64),
    mode=ModeSpec("shared"),
    load=LoadSpec("idle"),
    cpus=[3],
    housekeeping=[0],
    settle_ns=0,
    duration_ns=10**9,
)


def spec_of(mode: str, **asked: Any) -> RunSpec:
    """The bench ``gap`` for a second on CPU 3, idle, in a shipped mode; ``asked``: what differs."""
    return replace(_PLAIN, mode=modes.from_name(mode).to_spec(), **asked)
