# SPDX-License-Identifier: Apache-2.0
"""The agent under a real systemd: a unit of its own, ended by it in order; and where systemd will not, without."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.target.deploy import agent_zip

from .agent_kit import until
from .test_services_systemd import Machine, machine

__all__ = ["machine"]  # a fixture


#: It never comes as far as basic.target, for which every unit waits.
BOOTED = """
mkdir -p /run/systemd/system/isolbench-agent-.service.d
printf '[Unit]\\nDefaultDependencies=no\\n' >/run/systemd/system/isolbench-agent-.service.d/test.conf
systemctl daemon-reload
"""


class Inside:
    """The agent's commands in all of systemd's namespaces, as a login there would call them."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self._enter = ["nsenter", "-t", str(machine.pid), "--all"]
        self._folder = folder
        (folder / "agent.pyz").write_bytes(agent_zip()[0])

    def command(self, *argv: str, path: str = os.defpath) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._enter, "env", f"PATH={path}", *argv], capture_output=True, text=True, timeout=60, check=False
        )

    def agent(self, command: str, python: str = sys.executable, path: str = os.defpath) -> None:
        places = [f"--{each}={self._folder}/{each}".partition("=")[::2] for each in ("state", "runtime", "deploy")]
        options = [word for pair in places for word in pair]
        argv = [python, "-I", "-B", f"{self._folder}/agent.pyz", command, *options, "--idle", "300"]
        done = self.command(*argv, "--socket", f"isolbench.test-{os.getpid()}", path=path)
        assert done.returncode == 0, done.stderr

    def units(self) -> list[str]:
        listed = self.command("systemctl", "list-units", "--plain", "--no-legend", "isolbench-agent-*").stdout
        return [line.split()[0] for line in listed.splitlines()]

    def daemons(self) -> set[int]:
        """Supervisors and workers."""
        pattern = f"agent.pyz start --foreground.*isolbench.test-{os.getpid()}"
        return {int(pid) for pid in self.command("pgrep", "-f", pattern).stdout.split()}


@pytest.fixture
def inside(machine: Machine, tmp_path: Path) -> Iterator[Inside]:
    found = Inside(machine, tmp_path)
    assert found.command("sh", "-c", BOOTED).returncode == 0
    yield found
    for unit in found.units():
        found.command("systemctl", "stop", unit)
    for pid in found.daemons():
        found.command("kill", str(pid))
    until(lambda: not found.daemons(), "the daemons end")


def test_a_unit_of_its_own_that_systemd_can_stop(inside: Inside) -> None:
    inside.agent("start")
    (unit,) = inside.units()
    assert len(inside.daemons()) == 2  # supervisor and worker
    main = inside.command("systemctl", "show", "--property=MainPID", "--value", unit).stdout
    assert int(main) in inside.daemons()  # systemd's child, not the login's
    inside.agent("start")  # there is one already
    assert inside.units() == [unit]
    assert inside.command("systemctl", "stop", unit).returncode == 0
    until(lambda: not inside.daemons(), "the daemons end")
    assert inside.units() == []  # it leaves nothing to be cleared away


def wishes(inside: Inside) -> tuple[str, str]:
    """What systemd does when a load is killed because memory ran out, and what it leaves to us of control groups."""
    (unit,) = inside.units()
    show = ["systemctl", "show", "--value", unit, "--property"]
    policy, delegated = (inside.command(*show, name).stdout.strip() for name in ("OOMPolicy", "DelegateControllers"))
    return policy, delegated


def test_no_load_out_of_memory_ends_the_agent_and_no_reload_takes_cpuset_away(inside: Inside) -> None:
    inside.agent("start")
    assert wishes(inside) == ("continue", "cpuset")


@pytest.mark.parametrize(
    ("refused", "had"), [("Delegate=cpuset", ("continue", "")), ("OOMPolicy=continue", ("stop", ""))]
)
def test_an_older_systemd_starts_it_all_the_same(
    inside: Inside, tmp_path: Path, refused: str, had: tuple[str, str]
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    refuse = f'case "$*" in *{refused}*) echo "Unknown assignment: {refused}" >&2; exit 1; esac'
    (tools / "systemd-run").write_text(f'#!/bin/sh\n{refuse}\nexec /usr/bin/systemd-run "$@"\n')
    (tools / "systemd-run").chmod(0o755)
    inside.agent("start", path=f"{tools}:{os.defpath}")
    assert wishes(inside) == had
    assert len(inside.daemons()) == 2


@pytest.mark.parametrize("trouble", ["refuses", "dies", "cannot execute"])
def test_where_systemd_does_not_do_a_double_fork_does(trouble: str, inside: Inside, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    python = sys.executable
    if trouble == "cannot execute":  # as SELinux would have it: we may, systemd may not
        swap = f'for each; do shift; [ "$each" != {python} ] || each=/nowhere; set -- "$@" "$each"; done'
        script = f'{swap}; exec /usr/bin/systemd-run "$@"'
    else:
        script = {"refuses": "exit 1", "dies": "exit 0"}[trouble]
    (tools / "systemd-run").write_text(f"#!/bin/sh\n{script}\n")
    (tools / "systemd-run").chmod(0o755)
    inside.agent("start", path=f"{tools}:{os.defpath}")
    assert inside.units() == []
    assert len(inside.daemons()) == 2
