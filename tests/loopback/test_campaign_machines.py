# SPDX-License-Identifier: Apache-2.0
"""Targets that lack something: each says so in one line, or is measured all the same."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .campaign_kit import Lab, Said, complete, needs_root
from .conftest import Server, User
from .test_contact_machines import HIDE_PYTHON

pytestmark = needs_root


def measured(lab: Lab, **changes: object) -> dict[str, object]:
    """Carry out a campaign; the facts of its target."""
    said = lab.cli("run", str(lab.campaign(**changes)))
    assert said.code == 0, said.err
    execution = lab.newest()
    complete(execution)
    facts: dict[str, object] = json.loads((execution.path / "lanes/box.json").read_text())["facts"]
    return facts


def refused(said: Said) -> str:
    """The one line that says why; the other one is the outcome's."""
    assert said.code == 3, said.err
    why, outcome = said.lines
    done = "isolbench: 0 of 2 runs finished, below the quorum of 100%"
    assert outcome == f"{done}; resume continues once that is corrected: box"
    return why


def test_no_python(lab: Lab, start_sshd: Callable[..., Server]) -> None:
    lab.add(start_sshd(mounts=[HIDE_PYTHON]))
    said = lab.cli("run", str(lab.campaign()))
    assert "no Python: python3 is not on its PATH" in refused(said)
    assert "advice: isolbench's agent needs Python 3.9" in said.err
    lab.add(start_sshd())
    assert lab.cli("resume", "short").code == 0
    complete(lab.newest())


@pytest.mark.skipif(shutil.which("sudo") is None, reason="sudo is not installed")
def test_sudo_that_asks_for_a_password(
    lab: Lab, start_sshd: Callable[..., Server], make_user: Callable[..., User]
) -> None:
    user = make_user()
    lab.add(start_sshd(home=False), user=user.name, become="sudo")
    assert "`become: sudo`, but sudo asks for a password" in refused(lab.cli("run", str(lab.campaign())))


def test_no_sudo_at_all(lab: Lab, start_sshd: Callable[..., Server], make_user: Callable[..., User]) -> None:
    user = make_user()
    hide = "for each in $(command -v sudo); do mount --bind /dev/null $(readlink -f $each); done"
    lab.add(start_sshd(home=False, mounts=[hide]), user=user.name, become="sudo")
    assert "sudo" in refused(lab.cli("run", str(lab.campaign())))
    lab.enter("box", become="none")  # who does not ask for it is measured without
    assert lab.cli("resume", "short").code == 0
    complete(lab.newest())


@pytest.mark.skipif(shutil.which("sudo") is None, reason="sudo is not installed")
def test_sudo_without_a_password_measures_as_root(
    lab: Lab, start_sshd: Callable[..., Server], make_user: Callable[..., User]
) -> None:
    user = make_user()
    rule = Path(f"/etc/sudoers.d/{user.name}")
    rule.write_text(f"{user.name} ALL=(root) NOPASSWD: ALL\n")
    rule.chmod(0o440)
    try:
        lab.add(start_sshd(home=False, mounts=["mount -t tmpfs none /root"]), user=user.name, become="sudo")
        facts = measured(lab, axes={"mode": ["fifo"], "load": ["idle"]})
    finally:
        rule.unlink()
    assert facts["privileges"]["root"] is True  # type: ignore[index]


def test_without_cgroups_tracefs_and_debugfs(lab: Lab, start_sshd: Callable[..., Server]) -> None:
    mounts = ["mount -t tmpfs -o ro none /sys/fs/cgroup"]
    mounts += [f"mount -t tmpfs -o ro none /sys/kernel/{name}" for name in ("tracing", "debug")]
    mounts += ["mount --bind /dev/null /proc/cgroups"]
    lab.add(start_sshd(mounts=mounts))
    facts = measured(lab, axes={"mode": ["shared", "pinned", "fifo"], "load": ["idle"]})
    assert facts["tracefs"] is False
    assert facts["cgroup"] == {"version": None, "controllers": []}


def test_without_an_sftp_server(lab: Lab, start_sshd: Callable[..., Server]) -> None:
    server = start_sshd("Subsystem sftp /bin/false")
    probe = ["sftp", "-b", "/dev/null", "-P", str(server.port), "-i", str(server.user_key)]
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "root@127.0.0.1"]
    assert subprocess.run([*probe, *options], capture_output=True).returncode != 0
    lab.add(server)
    measured(lab)


def test_dropbear(lab: Lab, start_dropbear: Callable[[], Server], make_user: Callable[..., User]) -> None:
    user = make_user()
    lab.add(start_dropbear(), user=user.name)
    measured(lab)


def test_a_heavy_bashrc(lab: Lab, start_sshd: Callable[..., Server]) -> None:
    noise = (
        "echo Welcome; for i in $(seq 30); do /bin/echo $i; done; echo warning >&2\n"
        "python3() { echo mine; }; alias ls='ls -l'; set -u; cd /usr; stty -a\n"
    )
    lab.add(start_sshd(bashrc=noise))
    measured(lab)


def test_a_login_shell_that_ends_at_once(lab: Lab, start_sshd: Callable[..., Server]) -> None:
    lab.add(start_sshd(bashrc="echo This account is closed; exit 1\n"))
    line = refused(lab.cli("run", str(lab.campaign())))
    assert "ran no command: This account is closed" in line


def test_a_single_session_per_connection(lab: Lab, start_sshd: Callable[..., Server]) -> None:
    lab.add(start_sshd("MaxSessions 1"))
    measured(lab)
