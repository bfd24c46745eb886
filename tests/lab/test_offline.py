# SPDX-License-Identifier: Apache-2.0
"""A measured CPU that is taken away while it is measured, on a board of its own: no other machine is asked for that."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.deadline import Deadline
from harness.lab import count
from harness.lab.images import Image

GAP = ["gap", "--cpu", "1", "--duration", "3s", "--threshold", "10us", "--attribution", "perf"]

pytestmark = pytest.mark.usefixtures("one_at_a_time")


def test_a_cpu_that_is_taken_away(image: Callable[[str], Image]) -> None:
    """Its events go with it; the run ends all the same, and says so."""
    kernel = image("bookworm-x86_64").kernels["stock"]
    counted = count.run("x86_64", kernel, GAP, beside=["offline:1@1500"], deadline=Deadline.after(300))
    assert (counted.status, counted.stderr) == (0, "")
    assert counted.result is not None
    told = counted.result["attribution"]
    assert told["cpu_gone"] is True
    assert (told["level"], told["conservation"]["holds"], told["steal_ns"]) == ("tracepoints", None, None)
    ends = counted.result["effective"]
    assert (ends["start"]["affinity"], ends["end"]["affinity"]) == ("1", "0")
    assert any("task:cpuhp" in (each["cause"], each["entry"]) for each in told["causes"])
