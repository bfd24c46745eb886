# SPDX-License-Identifier: Apache-2.0
"""Which machine answers under a name: two names of one are an error, another board under a name is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from .campaign_kit import Lab, complete, needs_root, wait_for
from .conftest import NO_DMI, Server, serial_number

pytestmark = needs_root


def lane_file(lab: Lab, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((lab.newest().path / "lanes" / f"{name}.json").read_text())
    return document


@pytest.mark.parametrize("names", [("box", "other"), ("local", "box")])
def test_two_names_of_one_machine(
    names: tuple[str, str], lab: Lab, start_sshd: Callable[..., Server], no_waiting: None
) -> None:
    for name in names:
        if name != "local":
            lab.add(start_sshd(), name)
    said = lab.cli("run", str(lab.campaign(targets=list(names))))
    assert said.code == 2, said.err
    orders = (names, names[::-1])  # who comes first has it
    assert any(f"{one} and {other} are two names of one machine" in said.out for one, other in orders)
    assert "(boot id " in said.out  # before any lease
    assert "measure it under one of them" in said.out
    (refused,) = (name for name in names if lane_file(lab, name)["failure"])
    assert said.lines[-1].startswith("isolbench: 2 of 4 runs finished: ")
    assert said.lines[-1].endswith(
        f"; what was asked for cannot be right: {refused}; resume continues once that is corrected: {refused}"
    )
    assert lane_file(lab, refused)["failure"]["fault"] == "user"
    assert not (lab.newest().path / "runs" / refused).exists()


def test_two_names_of_one_machine_in_two_processes(lab: Lab, start_sshd: Callable[..., Server]) -> None:
    """As a cluster's array or a CI matrix would start them: the lease, on the target itself, tells."""
    lab.add(start_sshd())
    lab.add(start_sshd(), "other")
    execution = lab.execution(duration="30s", repeat=1)
    name = f"short/{execution.id}"
    with lab.start("run", "--execution", name, "--lane", "box") as first:
        wait_for(lambda: lab.events("run-started"), "the first lane measures")
        second = lab.cli("run", "--execution", name, "--lane", "other")
        first.terminate()
        first.communicate(timeout=60)
    assert second.code == 2, second.err
    assert "box and other are two names of one machine (it is leased by that lane)" in second.err


def test_a_board_that_was_swapped_is_refused(lab: Lab, start_sshd: Callable[..., Server]) -> None:
    lab.add(start_sshd(mounts=serial_number("10000000abcdef01")), serial="10000000ABCDEF99")
    said = lab.cli("run", str(lab.campaign()))
    assert said.code == 3
    why = said.lines[0]
    assert "another board: the inventory says serial: 10000000ABCDEF99, this machine's is 10000000abcdef01" in why
    lab.enter("box", serial="10000000abcdef01")
    assert lab.cli("resume", "short").code == 0
    complete(lab.newest())


def test_a_serial_that_cannot_be_read_is_not_taken_for_the_right_one(
    lab: Lab, start_sshd: Callable[..., Server]
) -> None:
    lab.add(start_sshd(mounts=[NO_DMI]), serial="A1")
    said = lab.cli("run", str(lab.campaign()))
    assert said.code == 3
    assert "the inventory says serial: A1, but this machine's cannot be read" in said.lines[0]
