# SPDX-License-Identifier: Apache-2.0
"""A kernel on its way to an invented machine: by the real agent, in a process of its own, over its standard input."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.agent import kernels
from harness.agent.lease import Lease
from harness.config.kernels import Artefact
from harness.errors import Busy, ConnectionLost, EnvironmentFault, StorageFull
from harness.target.client import StaleToken
from harness.target.contact import Contact
from harness.target.hands import Hands
from harness.target.kernels import MOST, Bundle, identify
from harness.target.local import LocalTransport

from .test_kernels import PACKAGE, tar_of

AGENT = """\
import os, sys
sys.path[:0] = {path!r}
from harness.agent import kernelrequests, kernels
from harness.agent.system import Tree
kernelrequests.Tree = lambda: Tree({root!r})
kernels.SPARE_BYTES = {spare}
{more}
sys.exit(kernelrequests.main(sys.stdin.buffer, sys.stdout))
"""


class Machine:
    """Below ``root``; what its agent does besides is ``more``."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        for name in ("boot", "var/lib", "lib/modules"):
            (self.root / name).mkdir(parents=True)
        self._agent = folder / "agent.py"
        self.says()

    def says(self, more: str = "", spare: int = 0) -> None:
        self._agent.write_text(AGENT.format(path=sys.path, root=str(self.root), more=more, spare=spare))

    @property
    def hands(self) -> Hands:
        contact = Contact(
            arch="x86_64", python=sys.executable, python_version=(3, 11, 0), uid=0, user="root", home="/root",
            deploy_root="/", free_kb=None, sudo=True, argv_prefix=(), kernel="6.1", date_s=None,
        )  # fmt: skip
        return Hands(LocalTransport(), contact, str(self._agent))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    big = {f"./lib/modules/6.1.0-x/kernel/{number}.ko": bytes(300_000) + bytes([number]) for number in range(9)}
    (tmp_path / "k.tar").write_bytes(tar_of({**PACKAGE, **big}))
    return identify("next", Artefact(tar=str(tmp_path / "k.tar")), "x86_64", tmp_path / "cache")


def test_both_sides_say_the_same() -> None:
    assert MOST == kernels.MOST


def test_it_is_sent_in_blocks_and_once(machine: Machine, bundle: Bundle) -> None:
    told: list[tuple[int, int]] = []
    entry = machine.hands.install(bundle, lambda done, total: told.append((done, total)))
    assert told[0] == (0, bundle.size)
    assert told[-1] == (bundle.size, bundle.size)
    assert told == sorted(told)
    modules = machine.root / "var/lib/isolbench/kernels" / bundle.build / "modules/6.1.0-x/kernel"
    assert len(list(modules.iterdir())) == 10
    assert (modules / "8.ko").read_bytes() == bytes(300_000) + b"\x08"
    again: list[int] = []
    assert machine.hands.install(bundle, lambda done, total: again.append(total)) == entry
    assert again == []


def test_what_came_whole_before_the_connection_broke_is_not_sent_again(machine: Machine, bundle: Bundle) -> None:
    machine.says(
        "whole = kernels.receive\n"
        "def cut_off(folder, part, *rest):\n    whole(folder, part, *rest) if part != 'image' else os._exit(9)\n"
        "kernels.receive = cut_off"
    )
    with pytest.raises(ConnectionLost):
        machine.hands.install(bundle)
    machine.says()
    told: list[int] = []
    machine.hands.install(bundle, lambda _done, total: told.append(total))
    assert told[0] == bundle.parts["image"].size


def test_what_it_cannot_have_is_told_before_a_byte_is_sent(machine: Machine, bundle: Bundle) -> None:
    def nothing(*_: int) -> None:
        raise AssertionError("something was sent")

    machine.says(spare=1 << 62)
    with pytest.raises(StorageFull, match=r"/boot has \d+ MiB free, and the kernel 6\.1\.0-x with its"):
        machine.hands.install(bundle, nothing)
    machine.says()
    (machine.root / "lib/modules/6.1.0-x").mkdir()
    with pytest.raises(EnvironmentFault, match=r"/lib/modules/6\.1\.0-x belongs to another build"):
        machine.hands.install(bundle, nothing)
    assert list((machine.root / "var/lib").iterdir()) == []


def test_under_a_lease_that_somebody_else_has_nothing_is_changed(machine: Machine, bundle: Bundle) -> None:
    """An upload may outlast its lease: what comes then is refused, up to the step that would arm a boot."""
    state = machine.root / "var/lib/isolbench"
    state.mkdir()
    lease = Lease(str(state), None)
    mine = machine.hands.under(lease.acquire({"id": "a", "who": "A"}, 600)["token"], "/var/lib/isolbench")
    step = {"write": "/boot/x", "text": "x"}
    mine.steps([step], keep_s=3000)
    assert (current := lease.current()) is not None
    assert current["expires_s"] > 2000
    with pytest.raises(Busy, match="in use by A"):  # a colleague without one
        machine.hands.remove()
    expired = Lease(str(state), None, lambda: 10**18)
    theirs = machine.hands.under(expired.acquire({"id": "b", "who": "B"}, 600)["token"], "/var/lib/isolbench")
    (machine.root / "boot/x").unlink()
    changes = (lambda: mine.steps([step]), lambda: mine.install(bundle), lambda: mine.look((), None), mine.remove)
    for change in changes:
        with pytest.raises(StaleToken):
            change()
    assert mine.state()  # who only looks needs none
    assert not (machine.root / "boot/x").exists()
    theirs.steps([step])
    assert (machine.root / "boot/x").read_text() == "x"


def test_an_agent_that_gives_up_in_the_middle_says_why(machine: Machine, bundle: Bundle) -> None:
    machine.says(
        "from harness.agent.system import AgentError\n"
        "def full(*_):\n    raise OSError(28, 'No space left on device', '/var/lib/x')\n"
        "kernels.receive = full"
    )
    with pytest.raises(StorageFull, match="/var/lib/x: No space left on device"):
        machine.hands.install(bundle)


def test_a_cache_that_was_damaged_is_found_out_and_made_anew(machine: Machine, bundle: Bundle, tmp_path: Path) -> None:
    image = bundle.part("image")
    assert image is not None
    image.write_bytes(b"x" * bundle.parts["image"].size)
    with pytest.raises(ConnectionLost, match="was damaged: it is made anew"):
        machine.hands.install(bundle)
    again = identify("next", Artefact(tar=str(tmp_path / "k.tar")), "x86_64", tmp_path / "cache")
    entry = machine.hands.install(again)
    assert (machine.root / entry["image"][1:]).read_bytes() == PACKAGE["./boot/vmlinuz-6.1.0-x"]
