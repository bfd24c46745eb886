# SPDX-License-Identifier: Apache-2.0
"""A real OpenSSH of 9.8 or later, which penalises sources: refused for a while, then let in; logins cost nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.config.targets import Target
from harness.deadline import Deadline
from harness.errors import Unreachable
from harness.target.ssh import Backoff, SshTransport

from .campaign_kit import needs_root
from .conftest import Server, _keygen, _wait_listening, free_port
from .unpacked import unpacked

pytestmark = needs_root

#: $1 the root, $2 a folder with host key, authorized_keys and config.
START = r"""
set -e
root=$1 own=$2
for each in proc sys dev; do mount --rbind /$each "$root/$each"; done
mount -t tmpfs none "$root/run"
mkdir -m 755 "$root/run/sshd"
mount -t tmpfs -o mode=755 none "$root/etc"
printf 'root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
mkdir "$root/etc/own"
cp "$own"/* "$root/etc/own/"
exec chroot "$root" /usr/sbin/sshd -D -e -f /etc/own/config
"""


@pytest.fixture(scope="session")
def newer_root() -> Path:
    if os.getuid() != 0:
        pytest.skip("chroot needs root")
    root = unpacked("trixie-sshd", "trixie", "openssh-server,busybox-static")
    for name in ("proc", "sys", "dev", "run", "root", "etc"):
        (root / name).mkdir(exist_ok=True)
    for name in ("bin", "lib", "lib64", "sbin"):  # base-files would make them
        if not (root / name).is_symlink() and not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    if not (root / "usr/bin/sh").is_symlink():
        (root / "usr/bin/sh").symlink_to("busybox")
    return root


@pytest.fixture
def penalising(newer_root: Path, open_folder: Path, user_key: Path) -> Iterator[Server]:
    """Whoever connects without logging in is refused for the next seconds."""
    own = open_folder / "newer"
    own.mkdir()
    public = _keygen(own / "host")
    shutil.copy(user_key.with_suffix(".pub"), own / "authorized_keys")
    port = free_port()
    lines = [
        f"ListenAddress 127.0.0.1:{port}", "HostKey /etc/own/host", "AuthorizedKeysFile /etc/own/authorized_keys",
        "StrictModes no", "UsePAM no", "PasswordAuthentication no", "PidFile none", "PermitRootLogin yes",
        "PerSourcePenalties noauth:3s min:1s max:6s",
    ]  # fmt: skip
    (own / "config").write_text("\n".join(lines) + "\n")
    command = ["unshare", "--mount", "--propagation=private", "sh", "-c", START, "sh", str(newer_root), str(own)]
    log_path = open_folder / "newer.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    server = Server(port, public, user_key, log_path, process, None)
    try:
        _wait_listening(server)  # a connect without a login: the first offence
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_penalised_for_a_while_then_let_in_and_never_again(
    penalising: Server, sshd_target: Callable[..., Target]
) -> None:
    target = sshd_target(penalising)
    while True:  # until the offence counts
        with socket.create_connection(("127.0.0.1", penalising.port)) as knock:
            if not knock.recv(4).startswith(b"SSH"):
                break
    with pytest.raises(Unreachable, match="Not allowed at this time") as caught:
        SshTransport.connect(target, Deadline.after(20), Backoff(tries=1))
    assert "PerSourcePenalties" in str(caught.value.advice)
    said: list[str] = []
    patient = Backoff(first_s=2.0, most_s=10.0, tries=6)
    SshTransport.connect(target, Deadline.after(60), patient, waiting=lambda why, _: said.append(why)).close()
    assert said
    assert all("Not allowed at this time" in why for why in said)
    for _ in range(12):  # full logins, one after the other, as lanes and doctors make them
        SshTransport.connect(target, Deadline.after(20), Backoff(tries=1)).close()
