# SPDX-License-Identifier: Apache-2.0
"""Which CPUs a target may use: those that the kernel gives when asked, not those that we were born with."""

from __future__ import annotations

import os

import pytest

from harness.agent.facts import cpus
from harness.agent.system import Tree


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: nothing to take away")
def test_an_inherited_affinity_hides_no_cpu() -> None:
    """As on a machine booted with isolcpus, where every process starts without the isolated CPUs."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert set(cpus(Tree())["allowed"]) >= before
        assert os.sched_getaffinity(0) == {min(before)}, "and the affinity is as it was"
    finally:
        os.sched_setaffinity(0, before)
