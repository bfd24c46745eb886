# SPDX-License-Identifier: Apache-2.0
"""The SSH transport against a real sshd: what arrives there, and what comes back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.config.targets import Target
from harness.deadline import Deadline
from harness.errors import ConnectionLost, TargetUnfit
from harness.target.ssh import MOST_SESSIONS, SshTransport
from harness.target.transport import open_transport

from .conftest import Server, User, gone

HOSTILE = [
    "plain",
    "",
    "two words",
    "quote's",
    'double"quote',
    "line\nbreak\n",
    "$(touch /tmp/owned) `id` ${HOME}",
    "../../etc/passwd",
    "back\\slash \\n \\' \\\\",
    "bang! !! !$ #hash ~ *?[a-z] {a,b} <>|&;()",
    "=tcsh ^caret % -dash --x=1",
    "tab\tbell\a",
    "naïve ✓",
]
SHELLS = ["/bin/bash", "/bin/dash", "/usr/bin/fish", "/usr/bin/tcsh"]


def soon(seconds: float = 20) -> Deadline:
    return Deadline.after(seconds)


@pytest.fixture
def connect(sshd_target: Callable[..., Target]) -> Iterator[Callable[..., SshTransport]]:
    """``connect(server=None, **changes)``: a transport, closed at the end."""
    transports: list[SshTransport] = []

    def make(server: Server | None = None, **changes: object) -> SshTransport:
        transports.append(SshTransport.connect(sshd_target(server, **changes), soon()))
        return transports[-1]

    yield make
    for transport in transports:
        transport.close()


@pytest.fixture
def ssh(connect: Callable[..., SshTransport]) -> SshTransport:
    return connect()


def test_status_and_both_outputs(ssh: SshTransport) -> None:
    done = ssh.run(["/bin/sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"in", deadline=soon())
    assert (done.status, done.stdout, done.stderr) == (3, b"in", b"err\n")


def test_open_transport_speaks_ssh(sshd_target: Callable[..., Target]) -> None:
    transport = open_transport(sshd_target())
    try:
        assert transport.run(["/bin/echo", "hello"], deadline=soon()).stdout == b"hello\n"
    finally:
        transport.close()


def test_a_command_that_is_not_there_is_a_status(ssh: SshTransport) -> None:
    assert ssh.run(["no-such-command-here"], deadline=soon()).status == 127


@pytest.mark.parametrize("shell", SHELLS)
def test_hostile_arguments_arrive_whatever_the_login_shell(
    shell: str, make_user: Callable[..., User], start_sshd: Callable[..., Server], connect: Callable[..., SshTransport]
) -> None:
    transport = connect(start_sshd(home=False), user=make_user(shell=shell).name)
    done = transport.run(["/bin/sh", "-c", 'printf "%s\\0" "$@"', "sh", *HOSTILE], deadline=soon())
    assert done.stdout.decode().split("\0")[:-1] == HOSTILE, done.stderr
    channel = transport.open(["/bin/printf", "%s|", *HOSTILE], deadline=soon())
    seen = b""
    while part := channel.read(4096, soon()):
        seen += part
    assert seen.decode().split("|")[:-1] == "|".join(HOSTILE).split("|")


def test_noise_of_the_login_shell_is_no_output(
    start_sshd: Callable[..., Server], connect: Callable[..., SshTransport]
) -> None:
    noisy = start_sshd(bashrc="echo welcome; echo trouble >&2; for i in $(seq 200); do /bin/echo $i; done\n")
    transport = connect(noisy)
    done = transport.run(["/bin/echo", "mine"], deadline=soon())
    assert (done.stdout, done.stderr) == (b"mine\n", b"")
    with pytest.raises(AssertionError):  # the noise was really there
        assert transport.open(["/bin/echo", "mine"], deadline=soon()).read(7, soon()) != b"welcome"


def test_an_account_that_runs_no_commands_says_so(
    make_user: Callable[..., User], start_sshd: Callable[..., Server], connect: Callable[..., SshTransport]
) -> None:
    transport = connect(start_sshd(home=False), user=make_user(shell="/usr/sbin/nologin").name)
    with pytest.raises(TargetUnfit, match=r"ran no command: This account is currently not available"):
        transport.run(["/bin/true"], deadline=soon())


def test_fifty_megabytes_come_back_on_both_outputs(ssh: SshTransport) -> None:
    script = "head -c 50000000 /dev/zero & head -c 5000000 /dev/zero >&2; wait"
    done = ssh.run(["/bin/sh", "-c", script], deadline=soon(60))
    assert (len(done.stdout), len(done.stderr)) == (50_000_000, 5_000_000)


def test_twenty_megabytes_go_in_while_as_many_come_out(ssh: SshTransport) -> None:
    data = bytes(range(256)) * 80_000
    assert ssh.run(["/bin/cat"], stdin=data, deadline=soon(60)).stdout == data


def test_a_command_may_leave_its_input_unread(ssh: SshTransport) -> None:
    assert ssh.run(["/bin/sh", "-c", "exit 7"], stdin=b"x" * 20_000_000, deadline=soon(60)).status == 7


def test_killed_is_not_lost(ssh: SshTransport) -> None:
    assert ssh.run(["/bin/sh", "-c", "kill -9 $$"], deadline=soon()).status == -1
    assert ssh.run(["/bin/true"], deadline=soon()).ok


def test_a_passed_deadline_ends_the_command_and_not_the_connection(ssh: SshTransport, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    with pytest.raises(ConnectionLost, match=r"^/bin/sh: no answer within 0.4 s"):
        ssh.run(["/bin/sh", "-c", f"echo $$ >{alive}; exec sleep 1000"], deadline=soon(0.4))
    assert gone(int(alive.read_text()))
    assert ssh.run(["/bin/true"], deadline=soon()).ok


def test_a_held_channel_both_ways(ssh: SshTransport) -> None:
    channel = ssh.open(["/bin/sh", "-c", "echo ready >&2; cat; exit 4"], deadline=soon())
    for word in (b"one\n", b"two\n"):
        channel.write(word, soon())
        assert channel.read(100, soon()) == word
    assert channel.exit_status(soon(0.05)) is None
    with pytest.raises(ConnectionLost, match="no answer within"):
        channel.read(1, soon(0.05))
    channel.write(b"three\n", soon())  # a passed deadline of a read breaks nothing
    assert channel.read(100, soon()) == b"three\n"
    channel.close_stdin(soon())
    assert channel.read(100, soon()) == b""
    assert channel.exit_status(soon()) == 4
    assert channel.stderr_tail() == "ready\n"
    channel.close()
    channel.close()


@pytest.mark.parametrize(("root", "command"), [(True, "cat >/dev/null"), (False, "sleep 1000")])
def test_a_closed_channel_ends_its_command(
    root: bool,
    command: str,
    start_sshd: Callable[..., Server],
    make_user: Callable[..., User],
    connect: Callable[..., SshTransport],
) -> None:
    ssh = connect() if root else connect(start_sshd(home=False), user=make_user().name)
    channel = ssh.open(["/bin/sh", "-c", f"echo $$; exec {command}"], deadline=soon())
    pid = int(channel.read(20, soon()))
    channel.close()
    assert gone(pid)
    with pytest.raises(ConnectionLost):
        channel.read(1, soon())


def test_a_flood_on_standard_error_does_not_stop_the_channel(ssh: SshTransport) -> None:
    flood = "head -c 6000000 /dev/zero | tr '\\0' x >&2; echo done"
    channel = ssh.open(["/bin/sh", "-c", flood], deadline=soon())
    assert channel.read(100, soon()) == b"done\n"
    assert channel.read(100, soon()) == b""
    assert len(channel.stderr_tail()) == 64 * 1024


def test_four_sessions_at_once_and_the_fifth_waits(ssh: SshTransport) -> None:
    held = [ssh.open(["/bin/cat"], deadline=soon()) for _ in range(MOST_SESSIONS)]
    with pytest.raises(ConnectionLost, match="all 4 sessions stayed in use"):
        ssh.run(["/bin/true"], deadline=soon(0.1))
    done: list[int] = []
    waiting = threading.Thread(target=lambda: done.append(ssh.run(["/bin/true"], deadline=soon()).status))
    waiting.start()
    held[0].close()
    waiting.join(20)
    assert done == [0]
    for number, channel in enumerate(held[1:]):  # and none of them heard the other
        channel.write(b"%d" % number, soon())
        assert channel.read(10, soon()) == b"%d" % number


def test_sessions_that_did_not_open_are_not_counted(ssh: SshTransport) -> None:
    for _ in range(MOST_SESSIONS + 1):
        with pytest.raises(ConnectionLost, match=r"no answer within 0 s"):
            ssh.open(["/bin/cat"], deadline=soon(0))
    assert ssh.run(["/bin/true"], deadline=soon()).ok


def test_threads_share_one_connection(ssh: SshTransport) -> None:
    seen: dict[int, bytes] = {}

    def work(number: int) -> None:
        seen[number] = ssh.run(["/bin/cat"], stdin=b"%d" % number * 100_000, deadline=soon(60)).stdout

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == {number: b"%d" % number * 100_000 for number in range(8)}


def test_a_server_of_few_sessions_is_named(
    start_sshd: Callable[..., Server], connect: Callable[..., SshTransport]
) -> None:
    transport = connect(start_sshd("MaxSessions 1"))
    held = transport.open(["/bin/cat"], deadline=soon())
    with pytest.raises(TargetUnfit, match="refuses another session") as caught:
        transport.run(["/bin/true"], deadline=soon())
    assert "MaxSessions" in str(caught.value.advice)
    # one that is about to end is waited for
    ending = threading.Timer(0.1, held.close)
    ending.start()
    assert transport.run(["/bin/true"], deadline=soon()).ok
    ending.join()
    for _ in range(20):  # one after the other, each on the heels of the last
        assert transport.run(["/bin/true"], deadline=soon()).ok


def test_dropbear_serves_as_well(
    start_dropbear: Callable[[], Server], make_user: Callable[..., User], connect: Callable[..., SshTransport]
) -> None:
    transport = connect(start_dropbear(), user=make_user().name)
    data = bytes(range(256)) * 4000
    assert transport.run(["/bin/cat"], stdin=data, deadline=soon()).stdout == data
    assert transport.run(["/bin/sh", "-c", "kill -9 $$"], deadline=soon()).status == -1


def test_a_closed_transport_is_gone(ssh: SshTransport) -> None:
    ssh.close()
    ssh.close()
    with pytest.raises(ConnectionLost, match="is gone"):
        ssh.run(["/bin/true"], deadline=soon())


def test_the_socket_sends_at_once_and_notices_a_dead_peer(ssh: SshTransport) -> None:
    line = ssh._links[0].line
    assert line is not None
    assert line.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert line.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    idle, interval, probes, user_ms = (
        line.sock.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    )
    assert idle + interval * probes <= 60
    assert 0 < user_ms <= 60_000


def test_null_bytes_cannot_be_arguments(ssh: SshTransport) -> None:
    with pytest.raises(ValueError, match="null byte"):
        ssh.run(["/bin/echo", "a\0b"], deadline=soon())
