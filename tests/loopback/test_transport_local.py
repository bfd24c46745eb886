# SPDX-License-Identifier: Apache-2.0
"""The transport to this machine keeps the same promises as the one over SSH."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.config.targets import Target
from harness.deadline import Deadline
from harness.errors import ConnectionLost
from harness.target.local import LocalTransport
from harness.target.transport import open_transport

from .conftest import gone


def soon(seconds: float = 20) -> Deadline:
    return Deadline.after(seconds)


@pytest.fixture
def local() -> Iterator[LocalTransport]:
    transport = open_transport(Target(name="local", local=True))
    assert isinstance(transport, LocalTransport)
    yield transport
    transport.close()


def test_status_and_both_outputs(local: LocalTransport) -> None:
    done = local.run(["/bin/sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"in", deadline=soon())
    assert (done.status, done.stdout, done.stderr) == (3, b"in", b"err\n")


def test_arguments_arrive_as_they_are(local: LocalTransport) -> None:
    hostile = ["", "a b", "quote's", "$(id)", "line\nbreak", "*"]
    done = local.run([sys.executable, "-c", "import sys; print('|'.join(sys.argv[1:]))", *hostile], deadline=soon())
    assert done.stdout.decode() == "|".join(hostile) + "\n"


def test_not_there_and_not_executable_are_statuses_as_in_a_shell(local: LocalTransport, tmp_path: Path) -> None:
    done = local.run(["no-such-command-here"], deadline=soon())
    assert (done.status, done.last_words()) == (127, "no-such-command-here: No such file or directory")
    (tmp_path / "text").write_text("no program")
    assert local.run([str(tmp_path / "text")], deadline=soon()).status == 126
    with pytest.raises(ConnectionLost, match="No such file"):
        local.open(["no-such-command-here"], deadline=soon())


def test_killed_is_negative(local: LocalTransport) -> None:
    assert local.run(["/bin/sh", "-c", "kill -9 $$"], deadline=soon()).status == -9


def test_megabytes_both_ways(local: LocalTransport) -> None:
    data = bytes(range(256)) * 80_000
    assert local.run(["/bin/cat"], stdin=data, deadline=soon(60)).stdout == data
    assert local.run(["/bin/sh", "-c", "exit 7"], stdin=data, deadline=soon(60)).status == 7


def test_a_passed_deadline_ends_the_whole_group(local: LocalTransport, tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! >{tmp_path}/child; echo $$ >{tmp_path}/parent; wait"
    with pytest.raises(ConnectionLost, match=r"/bin/sh: no end within 0.3 s"):
        local.run(["/bin/sh", "-c", script], deadline=soon(0.3))
    assert gone(int((tmp_path / "parent").read_text()))
    assert gone(int((tmp_path / "child").read_text()))


def test_a_held_channel_both_ways(local: LocalTransport) -> None:
    channel = local.open(["/bin/sh", "-c", "echo ready >&2; cat; exit 4"], deadline=soon())
    channel.write(b"one", soon())
    assert channel.read(100, soon()) == b"one"
    assert channel.exit_status(soon(0.05)) is None
    with pytest.raises(ConnectionLost, match="no answer within"):
        channel.read(1, soon(0.05))
    channel.close_stdin(soon())
    assert channel.read(100, soon()) == b""
    assert channel.exit_status(soon()) == 4
    assert channel.stderr_tail() == "ready\n"
    channel.close()
    channel.close()
    assert channel.stderr_tail() == "ready\n"


def test_a_flood_on_standard_error_does_not_stop_the_channel(local: LocalTransport) -> None:
    channel = local.open(["/bin/sh", "-c", "head -c 3000000 /dev/zero >&2; echo done"], deadline=soon())
    assert channel.read(100, soon()) == b"done\n"
    assert len(channel.stderr_tail()) == 64 * 1024


def test_a_write_that_nobody_reads(local: LocalTransport) -> None:
    channel = local.open(["/bin/sleep", "1000"], deadline=soon())
    with pytest.raises(ConnectionLost, match=r"/bin/sleep: no answer within"):
        channel.write(b"x" * 10_000_000, soon(0.3))


def test_a_write_to_somebody_gone(local: LocalTransport) -> None:
    channel = local.open(["/bin/true"], deadline=soon())
    assert channel.exit_status(soon()) == 0
    with pytest.raises(ConnectionLost, match="no longer reads"):
        channel.write(b"x" * 10_000_000, soon())


def test_closing_ends_the_whole_group(local: LocalTransport) -> None:
    channel = local.open(["/bin/sh", "-c", "sleep 1000 & echo $! $$; wait"], deadline=soon())
    child, parent = map(int, channel.read(100, soon()).split())
    local.close()
    assert gone(child)
    assert gone(parent)
    for use in (lambda: channel.read(1, soon()), lambda: channel.write(b"x", soon())):
        with pytest.raises(ConnectionLost, match="the channel is closed"):
            use()


def test_a_daemon_of_its_own_session_outlives_the_channel(local: LocalTransport) -> None:
    script = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; cat"
    channel = local.open(["/bin/sh", "-c", script], deadline=soon())
    pid = int(channel.read(100, soon()))
    try:
        channel.close()
        assert os.path.exists(f"/proc/{pid}")
    finally:
        os.kill(pid, 9)
