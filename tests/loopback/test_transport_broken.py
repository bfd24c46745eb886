# SPDX-License-Identifier: Apache-2.0
"""Connections that are refused, frozen, cut and throttled at every stage: which error comes, and that one does come.

Nothing here says how fast; the deadlines are short so that the tests are.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from harness.config.targets import Target
from harness.deadline import Deadline
from harness.errors import ConnectionLost, Unreachable
from harness.target.ssh import Backoff, SshTransport
from harness.target.transport import AuthenticationFailed, open_transport

from .conftest import Server, free_port
from .proxy import Proxy

QUICK = Backoff(first_s=0.05, most_s=0.1, tries=3)
ONCE = Backoff(tries=1)

# Bytes that have come down when a stage is reached: sshd's banner is some 40 bytes, its offer of algorithms and its
# half of the key exchange end at about 1.8 kB, the login at about 2.6 kB.
STAGES = {"before the banner": 0, "in the banner": 10, "in the algorithms": 300, "in the key exchange": 1300}


def short() -> Deadline:
    return Deadline.after(0.6)


def ample() -> Deadline:
    return Deadline.after(20)


@pytest.fixture
def through(proxy: Proxy, sshd_target: Callable[..., Target]) -> Iterator[SshTransport]:
    """A transport whose connection runs through the proxy."""
    transport = SshTransport.connect(sshd_target(port=proxy.port), ample())
    yield transport
    transport.close()


class TestConnecting:
    def test_a_closed_port(self, sshd_target: Callable[..., Target]) -> None:
        port = free_port()
        pauses: list[float] = []
        with pytest.raises(Unreachable, match=rf"^127.0.0.1:{port}: Connection refused$") as caught:
            SshTransport.connect(sshd_target(port=port), ample(), QUICK, pause=pauses.append)
        assert "sshd listening" in str(caught.value.advice)
        assert not pauses  # nobody listens: waiting would change nothing

    def test_a_black_hole(self, sshd_target: Callable[..., Target]) -> None:
        with black_hole() as port, pytest.raises(Unreachable, match=r"no answer within 0\.\d+ s"):
            SshTransport.connect(sshd_target(port=port), short(), QUICK)

    def test_a_name_that_nobody_knows(self, sshd_target: Callable[..., Target]) -> None:
        with pytest.raises(Unreachable, match=r"no-such-host.invalid: its name (cannot be|was not) resolved") as caught:
            SshTransport.connect(sshd_target(address="no-such-host.invalid"), Deadline.after(3), QUICK)
        assert caught.value.advice is None or "address" in caught.value.advice

    @pytest.mark.parametrize("stage", STAGES)
    def test_frozen(self, stage: str, proxy: Proxy, sshd_target: Callable[..., Target]) -> None:
        proxy.at("down", STAGES[stage], "freeze")
        with pytest.raises(Unreachable, match=r"no SSH login within 0\.6 s"):
            SshTransport.connect(sshd_target(port=proxy.port), short(), QUICK)

    @pytest.mark.parametrize("by", ["inventory", "configuration"])
    def test_a_timeout_of_ones_own(
        self, by: str, proxy: Proxy, sshd_target: Callable[..., Target], own_home: Path
    ) -> None:
        proxy.freeze()
        (own_home / ".ssh" / "config").write_text("ConnectTimeout 1\n")
        mine = {"connect_timeout_ns": 300_000_000} if by == "inventory" else {}
        with pytest.raises(Unreachable, match=r"within 0\.3 s" if mine else r"within 1 s"):
            SshTransport.connect(sshd_target(port=proxy.port, **mine), ample(), QUICK)

    def test_frozen_in_the_login(self, proxy: Proxy, sshd_target: Callable[..., Target]) -> None:
        SshTransport.connect(sshd_target(port=proxy.port), ample(), ONCE).close()
        proxy.at("up", proxy.passed("up") - 400, "freeze")  # the last bytes of that were the login and the goodbye
        with pytest.raises(Unreachable, match=r"no SSH login within 0\.6 s"):
            SshTransport.connect(sshd_target(port=proxy.port), short(), QUICK)

    @pytest.mark.parametrize("how", ["cut", "reset"])
    @pytest.mark.parametrize("stage", STAGES)
    def test_cut(self, how: str, stage: str, proxy: Proxy, sshd_target: Callable[..., Target]) -> None:
        proxy.at("down", STAGES[stage], how)
        with pytest.raises(Unreachable, match=r"(hung up before|broke during) the login.* \(3 tries in"):
            SshTransport.connect(sshd_target(port=proxy.port), ample(), QUICK)
        assert proxy.connections == 3

    def test_cut_once_is_tried_again(self, proxy: Proxy, sshd_target: Callable[..., Target]) -> None:
        proxy.at("down", 0, "cut", times=2)
        transport = SshTransport.connect(sshd_target(port=proxy.port), ample(), QUICK)
        assert transport.run(["/bin/true"], deadline=ample()).ok
        transport.close()
        assert proxy.connections == 3

    def test_what_a_penalising_server_says_is_passed_on(self, sshd_target: Callable[..., Target]) -> None:
        with contextlib.closing(Grumpy()) as server:
            with pytest.raises(Unreachable, match=r"Not allowed at this time.* \(3 tries in") as caught:
                SshTransport.connect(sshd_target(port=server.port), ample(), QUICK)
            assert "PerSourcePenalties" in str(caught.value.advice)
            assert server.connections == 3

    def test_a_person_is_told_and_need_not_wait(self, sshd_target: Callable[..., Target]) -> None:
        with contextlib.closing(Grumpy()) as server:
            said: list[tuple[str, float]] = []
            pauses: list[float] = []

            def waiting(why: str, seconds: float) -> None:
                said.append((why, seconds))

            with pytest.raises(Unreachable):
                SshTransport.connect(
                    sshd_target(port=server.port), ample(), QUICK, pause=pauses.append, waiting=waiting
                )
            assert [seconds for _, seconds in said] == pauses
            assert len(pauses) == 2
            assert all("Not allowed at this time" in why for why, _ in said)
            with pytest.raises(Unreachable, match=r"Not allowed at this time$"):
                open_transport(sshd_target(port=server.port))  # without a pause
            assert server.connections == 4

    def test_a_server_that_sheds_load(
        self, start_sshd: Callable[..., Server], sshd_target: Callable[..., Target]
    ) -> None:
        server = start_sshd("MaxStartups 1")
        target = sshd_target(server)
        with squat(server.port) as squatter:
            with pytest.raises(Unreachable, match=r"hung up before the login.* \(3 tries in") as caught:
                SshTransport.connect(target, ample(), QUICK)
            assert "MaxStartups" in str(caught.value.advice)
            threading.Timer(0.3, squatter.shutdown, [socket.SHUT_RDWR]).start()
            SshTransport.connect(target, ample(), Backoff(first_s=0.05, most_s=0.1, tries=100)).close()

    def test_the_deadline_ends_the_patience(self, sshd_target: Callable[..., Target]) -> None:
        with contextlib.closing(Grumpy()) as server:
            with pytest.raises(Unreachable, match=r"Not allowed at this time"):
                SshTransport.connect(sshd_target(port=server.port), short(), Backoff(first_s=0.4, most_s=10, tries=100))
            assert server.connections < 3

    def test_a_throttled_line_is_only_slow(self, proxy: Proxy, sshd_target: Callable[..., Target]) -> None:
        proxy.bytes_per_s = 20_000
        transport = SshTransport.connect(sshd_target(port=proxy.port), ample(), ONCE)
        assert transport.run(["/bin/cat"], stdin=b"x" * 5000, deadline=ample()).stdout == b"x" * 5000
        transport.close()

    def test_what_was_half_made_is_taken_down(
        self, proxy: Proxy, sshd_target: Callable[..., Target], keygen: Callable[..., str], tmp_path: Path
    ) -> None:
        keygen(tmp_path / "stranger")
        with pytest.raises(AuthenticationFailed):
            SshTransport.connect(sshd_target(port=proxy.port, identity=tmp_path / "stranger"), ample(), ONCE)
        left = [thread for thread in threading.enumerate() if isinstance(thread, paramiko.Transport)]
        for thread in left:
            thread.join(5)  # on its way out
        assert not any(thread.is_alive() for thread in left)


class TestRunning:
    def test_frozen_during_a_command(self, through: SshTransport, proxy: Proxy) -> None:
        channel = through.open(["/bin/cat"], deadline=ample())
        proxy.freeze()
        with pytest.raises(ConnectionLost, match=r"/bin/cat: no answer within 0\.6 s"):
            channel.read(1, short())
        with pytest.raises(ConnectionLost, match=r"/bin/true: no answer within 0\.6 s"):
            through.run(["/bin/true"], deadline=short())

    def test_a_thawed_channel_goes_on(self, through: SshTransport, proxy: Proxy) -> None:
        channel = through.open(["/bin/cat"], deadline=ample())
        proxy.freeze()
        channel.write(b"hello", ample())
        with pytest.raises(ConnectionLost):
            channel.read(5, short())
        proxy.thaw()
        assert channel.read(5, ample()) == b"hello"

    @pytest.mark.parametrize("reset", [False, True])
    def test_cut_during_a_command(self, reset: bool, through: SshTransport, proxy: Proxy) -> None:
        channel = through.open(["/bin/sh", "-c", "echo half; exec cat"], deadline=ample())
        assert channel.read(5, ample()) == b"half\n"
        threading.Timer(0.1, proxy.cut, kwargs={"reset": reset}).start()
        with pytest.raises(ConnectionLost, match="the connection was lost before the command ended"):
            channel.read(5, ample())
        with pytest.raises(ConnectionLost):
            channel.exit_status(ample())
        with pytest.raises(ConnectionLost):
            channel.write(b"x", ample())
        with pytest.raises(ConnectionLost, match="is gone"):
            through.run(["/bin/true"], deadline=ample())

    @pytest.mark.parametrize("how", ["freeze", "cut", "reset"])
    def test_broken_during_an_upload(self, how: str, through: SshTransport, proxy: Proxy) -> None:
        proxy.at("up", proxy.passed("up") + 300_000, how)
        deadline = short() if how == "freeze" else ample()
        with pytest.raises(ConnectionLost):
            through.run(["/bin/cat"], stdin=b"x" * 20_000_000, deadline=deadline)
        through.close()

    @pytest.mark.parametrize("how", ["freeze", "cut", "reset"])
    def test_broken_during_a_write(self, how: str, through: SshTransport, proxy: Proxy) -> None:
        channel = through.open(["/bin/cat"], deadline=ample())
        proxy.at("up", proxy.passed("up") + 300_000, how)
        with pytest.raises(ConnectionLost):
            channel.write(b"x" * 20_000_000, short() if how == "freeze" else ample())
        channel.close()

    @pytest.mark.parametrize("how", ["freeze", "cut", "reset"])
    def test_broken_during_a_download(self, how: str, through: SshTransport, proxy: Proxy) -> None:
        proxy.at("down", proxy.passed("down") + 300_000, how)
        with pytest.raises(ConnectionLost):
            through.run(["head", "-c", "20000000", "/dev/zero"], deadline=short() if how == "freeze" else ample())

    @pytest.mark.parametrize("how", ["freeze", "cut"])
    def test_broken_while_a_session_opens(self, how: str, through: SshTransport, proxy: Proxy) -> None:
        proxy.at("down", 0, how)
        with pytest.raises(ConnectionLost):
            through.open(["/bin/cat"], deadline=short() if how == "freeze" else ample())

    def test_closing_a_frozen_transport_comes_back(self, through: SshTransport, proxy: Proxy) -> None:
        through.open(["/bin/cat"], deadline=ample())
        proxy.freeze()
        through.close()

    def test_a_write_that_nobody_reads(self, through: SshTransport) -> None:
        channel = through.open(["/bin/sleep", "1000"], deadline=ample())
        with pytest.raises(ConnectionLost, match=re.escape("/bin/sleep: not read within 0.6 s")):
            channel.write(b"x" * 20_000_000, short())
        channel.close()
        assert through.run(["/bin/true"], deadline=ample()).ok  # the connection is none the worse for it

    def test_sessions_come_back_from_failures(self, through: SshTransport, proxy: Proxy) -> None:
        for _ in range(6):
            with pytest.raises(ConnectionLost):
                through.run(["/bin/sleep", "1000"], deadline=Deadline.after(0.2))
        assert through.run(["/bin/true"], deadline=ample()).ok


class Grumpy:
    """Says what OpenSSH 9.8 and later says to a source that it penalises, and hangs up."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                client.sendall(b"Not allowed at this time\r\n")
                client.shutdown(socket.SHUT_WR)
                while client.recv(1000):
                    pass
                client.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def squat(port: int) -> socket.socket:
    """A connection that never logs in, once the server has room for one."""
    while True:
        squatter = socket.create_connection(("127.0.0.1", port))
        if squatter.recv(4) == b"SSH-":
            return squatter
        squatter.close()


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port that answers no SYN: its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port
