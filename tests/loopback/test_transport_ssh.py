# SPDX-License-Identifier: Apache-2.0
"""The SSH transport against a real sshd: what arrives there, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from harness.deadline import Deadline
from harness.target.ssh import SshTransport


def soon() -> Deadline:
    return Deadline.after(20)


@pytest.fixture
def ssh(sshd_target: Callable[..., object]) -> Iterator[SshTransport]:
    transport = SshTransport.connect(sshd_target(), soon())
    yield transport
    transport.close()


def test_runs_a_command(ssh: SshTransport) -> None:
    done = ssh.run(["/bin/sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"in", deadline=soon())
    assert (done.status, done.stdout, done.stderr) == (3, b"in", b"err\n")
