# SPDX-License-Identifier: Apache-2.0
"""The agent's way to the target: sent once, verified each time, old ones cleared away but never one in use."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.config.targets import Target
from harness.deadline import Deadline
from harness.errors import ConnectionLost, EnvironmentFault, StorageFull
from harness.target.contact import Contact, contact
from harness.target.deploy import KEEP, agent_zip, deploy_agent
from harness.target.ssh import SshTransport
from harness.target.transport import Transport, open_transport

from .conftest import ROOT, Server, User
from .proxy import Proxy


def soon() -> Deadline:
    return Deadline.after(20)


@pytest.fixture
def reach(sshd_target: Callable[..., Target]) -> Iterator[Callable[..., tuple[Transport, Contact]]]:
    """``reach(server=None, **changes)`` → the transport and its first contact."""
    transports: list[Transport] = []

    def make(server: Server | None = None, **changes: object) -> tuple[Transport, Contact]:
        target = sshd_target(server, **changes)
        transports.append(SshTransport.connect(target, soon()))
        return transports[-1], contact(transports[-1], target, soon())

    yield make
    for transport in transports:
        transport.close()


class Counting:
    """A transport that counts round trips and what they carry."""

    def __init__(self, inner: Transport) -> None:
        self.name = inner.name
        self._inner = inner
        self.sent: list[int] = []

    def run(self, argv, *, stdin=b"", deadline):  # type: ignore[no-untyped-def]
        self.sent.append(len(stdin))
        return self._inner.run(argv, stdin=stdin, deadline=deadline)

    def open(self, argv, *, deadline):  # type: ignore[no-untyped-def]
        return self._inner.open(argv, deadline=deadline)

    def close(self) -> None:
        self._inner.close()


def is_the_agent(path: str) -> bool:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() == agent_zip()[1]


def test_sent_once_then_reused(reach: Callable[..., tuple[Transport, Contact]]) -> None:
    inner, found = reach()
    transport = Counting(inner)
    size = len(agent_zip()[0])
    path = deploy_agent(transport, found, soon())
    assert path == f"{found.deploy_root}/agents/{agent_zip()[1]}.pyz"
    assert is_the_agent(path)
    assert transport.sent == [0, size]
    assert deploy_agent(transport, found, soon()) == path
    assert transport.sent == [0, size, 0]
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    assert os.stat(os.path.dirname(path)).st_mode & 0o077 == 0


def test_what_arrived_runs(reach: Callable[..., tuple[Transport, Contact]]) -> None:
    transport, found = reach()
    path = deploy_agent(transport, found, soon())
    done = transport.run([*found.argv_prefix, found.python, "-I", "-B", path, "facts"], deadline=soon())
    assert done.ok, done.last_words()
    assert json.loads(done.stdout)["arch"] == found.arch


@pytest.mark.parametrize("harm", ["flip", "truncate", "empty"])
def test_a_damaged_one_is_sent_anew(harm: str, reach: Callable[..., tuple[Transport, Contact]]) -> None:
    transport, found = reach()
    path = Path(deploy_agent(transport, found, soon()))
    whole = path.read_bytes()
    path.write_bytes({"flip": bytes([whole[0] ^ 1]) + whole[1:], "truncate": whole[:-1], "empty": b""}[harm])
    assert deploy_agent(transport, found, soon()) == str(path)
    assert path.read_bytes() == whole


def test_on_this_machine(own_home: Path) -> None:
    target = Target(name="local", local=True)
    transport = open_transport(target)
    path = deploy_agent(transport, contact(transport, target, soon()), soon())
    assert path.startswith(f"{own_home}/.cache/isolbench/agents/")
    assert is_the_agent(path)
    transport.close()


def test_no_sftp_is_needed(
    start_dropbear: Callable[[], Server],
    make_user: Callable[..., User],
    reach: Callable[..., tuple[Transport, Contact]],
) -> None:
    transport, found = reach(start_dropbear(), user=make_user().name)
    assert is_the_agent(deploy_agent(transport, found, soon()))


def test_a_noisy_login_does_no_harm(
    start_sshd: Callable[..., Server], reach: Callable[..., tuple[Transport, Contact]]
) -> None:
    transport, found = reach(start_sshd(bashrc='echo \'isolbench-deploy {"path": "/evil"}\'; echo noise >&2\n'))
    assert is_the_agent(deploy_agent(transport, found, soon()))


#: An undo list that a real agent has on this machine is none of the test's.
NO_UNDO_OF_OTHERS = [f"mount -t tmpfs none {place}" for place in ("/run", "/dev/shm", "/tmp", "/var/tmp")]


@pytest.mark.skipif(not ROOT, reason="a machine without anybody's undo list needs a mount namespace, so root")
class TestPruning:
    @pytest.fixture
    def old(
        self, start_sshd: Callable[..., Server], reach: Callable[..., tuple[Transport, Contact]]
    ) -> Callable[[], tuple[list[Path], Transport, Contact]]:
        """Five older agents on the target, the oldest first."""

        def make() -> tuple[list[Path], Transport, Contact]:
            transport, found = reach(start_sshd(mounts=[*NO_UNDO_OF_OTHERS, "mkdir -m 755 /run/sshd"]))
            folder = Path(found.deploy_root) / "agents"
            folder.mkdir(mode=0o700)
            paths = [folder / f"{number:064x}.pyz" for number in range(5)]
            for number, path in enumerate(paths):
                path.write_bytes(b"old")
                os.utime(path, (time.time() - 1000 + number,) * 2)
            return paths, transport, found

        return make

    def test_the_newest_are_kept(self, old: Callable[[], tuple[list[Path], Transport, Contact]]) -> None:
        paths, transport, found = old()
        path = Path(deploy_agent(transport, found, soon()))
        assert sorted(path.parent.iterdir()) == sorted([path, *paths[-(KEEP - 1) :]])

    def test_one_in_use_counts_as_the_newest_whatever_the_clock_says(
        self, old: Callable[[], tuple[list[Path], Transport, Contact]]
    ) -> None:
        paths, transport, found = old()
        used = Path(deploy_agent(transport, found, soon()))
        for clock in (0, 1 << 33):  # others come later, by a clock that was set back, or runs ahead
            for number, path in enumerate(paths):
                path.write_bytes(b"old")
                os.utime(path, (clock + number,) * 2)
            assert Path(deploy_agent(transport, found, soon())) == used
            assert sorted(used.parent.iterdir(), key=lambda path: path.stat().st_mtime) == [*paths[-(KEEP - 1) :], used]

    def test_one_that_runs_is_left_alone(self, old: Callable[[], tuple[list[Path], Transport, Contact]]) -> None:
        paths, transport, found = old()
        running = subprocess.Popen([sys.executable, "-c", "input()", str(paths[0]), "start"], stdin=subprocess.PIPE)
        try:
            deploy_agent(transport, found, soon())
            assert [path.exists() for path in paths] == [True, False, False, True, True]
        finally:
            running.communicate(b"\n")

    def test_nothing_goes_while_something_is_to_be_put_back(
        self, old: Callable[[], tuple[list[Path], Transport, Contact]]
    ) -> None:
        paths, transport, found = old()
        undo = f"/dev/shm/isolbench-{found.uid}/undo.jsonl"
        write = ["/bin/sh", "-c", f"mkdir -p {os.path.dirname(undo)}; cat >{undo}"]
        transport.run(write, stdin=b"{}\n", deadline=soon())
        deploy_agent(transport, found, soon())
        assert all(path.exists() for path in paths)
        transport.run(write, deadline=soon())
        deploy_agent(transport, found, soon())
        assert not all(path.exists() for path in paths)

    def test_broken_uploads_are_cleared_away_but_never_one_under_way(
        self, old: Callable[[], tuple[list[Path], Transport, Contact]]
    ) -> None:
        paths, transport, found = old()
        hashes = ("a" * 64, "b" * 64)
        stale, fresh = (paths[0].with_name(f".{sha256}.1") for sha256 in hashes)
        for part in (stale, fresh):
            part.write_bytes(b"half")
        receiver = subprocess.Popen([sys.executable, "-c", "input()", hashes[1]], stdin=subprocess.PIPE)
        try:
            deploy_agent(transport, found, soon())
            assert (stale.exists(), fresh.exists()) == (False, True)
        finally:
            receiver.communicate(b"\n")


class TestTrouble:
    @pytest.mark.skipif(not ROOT, reason="mounting a small disk needs root")
    def test_a_disk_that_fills_up(
        self, start_sshd: Callable[..., Server], reach: Callable[..., tuple[Transport, Contact]]
    ) -> None:
        transport, found = reach(start_sshd(mounts=["mount -t tmpfs -o size=32m none $home"]))
        filled = transport.run(["/bin/sh", "-c", "cat /dev/zero >~/filler"], deadline=soon())
        assert "No space left" in filled.last_words()
        with pytest.raises(StorageFull, match=r"\.cache/isolbench: no space for the agent: .*No space left"):
            deploy_agent(transport, found, soon())
        assert transport.run(["/bin/sh", "-c", "rm ~/filler"], deadline=soon()).ok
        path = deploy_agent(transport, found, soon())
        listed = transport.run(["ls", "-A", os.path.dirname(path)], deadline=soon())
        assert listed.stdout.decode().split() == [os.path.basename(path)]

    def test_a_place_that_is_no_folder(self, reach: Callable[..., tuple[Transport, Contact]]) -> None:
        transport, found = reach()
        (Path(found.deploy_root) / "agents").write_text("in the way")
        with pytest.raises(EnvironmentFault, match="the agent cannot be put there"):
            deploy_agent(transport, found, soon())

    @pytest.mark.parametrize("how", ["freeze", "cut", "reset"])
    def test_a_connection_that_breaks_leaves_nothing_half_done(
        self, how: str, proxy: Proxy, sshd: Server, reach: Callable[..., tuple[Transport, Contact]]
    ) -> None:
        transport, found = reach(port=proxy.port)
        proxy.at("up", proxy.passed("up") + 12_000, how)
        with pytest.raises(ConnectionLost):
            deploy_agent(transport, found, Deadline.after(1) if how == "freeze" else soon())
        agents = Path(found.deploy_root) / "agents"
        assert not list(agents.glob("*.pyz"))
        proxy.thaw()
        again, found = reach(sshd)
        assert is_the_agent(deploy_agent(again, found, soon()))

    @pytest.mark.parametrize("data", [b"other bytes", b""])
    def test_what_arrives_changed_is_not_kept(
        self, data: bytes, reach: Callable[..., tuple[Transport, Contact]]
    ) -> None:
        class Changing(Counting):
            def run(self, argv, *, stdin=b"", deadline):  # type: ignore[no-untyped-def]
                return super().run(argv, stdin=data if stdin else b"", deadline=deadline)

        transport, found = reach()
        with pytest.raises(ConnectionLost, match="the agent arrived damaged"):
            deploy_agent(Changing(transport), found, soon())
        assert list((Path(found.deploy_root) / "agents").iterdir()) == []

    def test_two_at_once(self, reach: Callable[..., tuple[Transport, Contact]]) -> None:
        pairs = [reach() for _ in range(4)]
        paths: list[str] = []
        threads = [
            threading.Thread(target=lambda pair=pair: paths.append(deploy_agent(*pair, soon()))) for pair in pairs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(paths) == 4
        assert len(set(paths)) == 1
        assert is_the_agent(paths[0])
