# SPDX-License-Identifier: Apache-2.0
"""Meddling services under a real systemd: process 1 of namespaces of its own, with units that only sleep."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SYSTEMD = next((path for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if os.path.exists(path)), None)

#: Nothing of this machine's own: no units, no settings, no control groups but those below our own.
BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs none /etc/systemd/system
mount -t tmpfs none /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t proc none /proc
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
mkdir -p /run/systemd/system
cd /run/systemd/system
unit() { file=$1; shift; { echo "[Unit]"; echo "DefaultDependencies=no"; printf '%s\\n' "$@"; } > "$file"; }
unit test.target "After=tuned.service irqbalance.service"  # else systemd forgets them, and how often they started
unit tuned.service "[Service]" "ExecStart=/bin/sleep 1000"
unit irqbalance.service "[Service]" "ExecStart=/bin/sleep 1000"
unit thermald.service "[Service]" "ExecStart=/bin/sleep 1000"
unit logrotate.timer "[Timer]" "OnCalendar=weekly"
unit fstrim.timer "[Timer]" "OnCalendar=weekly"
unit fstrim.service "[Service]" "Type=oneshot" "ExecStart=/bin/sleep 1000"
exec env container=test "$0" --system --unit=test.target --log-target=console --show-status=no
"""


@contextlib.contextmanager
def control_group() -> Iterator[Path]:
    """An empty one of version 2, removed afterwards."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    where = next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)
    if where is None:
        pytest.skip("no control groups of version 2 are mounted")
    group = where / f"isolbench-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"a control group cannot be made: {error}")
    try:
        yield group
    finally:
        until = time.monotonic() + 10.0
        while group.exists() and time.monotonic() < until:
            for folder in [*sorted((each for each in group.rglob("*") if each.is_dir()), reverse=True), group]:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            time.sleep(0.02)


class Machine:
    """A shell command in systemd's namespaces, and Python with the agent's modules."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(self, *argv: str) -> str:
        command = ["nsenter", "-t", str(self.pid), "--mount", "--pid", *argv]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    def python(self, text: str) -> Any:
        """What ``text`` leaves in ``said``, with a knob, the undo and their modules at hand."""
        before = (
            f"import json, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from harness.agent.knobs.services import Services\nfrom harness.agent.services import Systemd\n"
            "from harness.agent.undo import Undo\nfrom harness.agent.system import Tree\n"
            "tree = Tree()\nundo, knob = Undo('/run', tree), Services(tree)\n"
        )
        return json.loads(self.run(sys.executable, "-I", "-B", "-c", f"{before}{text}\nprint(json.dumps(said))"))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    if SYSTEMD is None or shutil.which("systemctl") is None:
        pytest.skip("systemd is not installed")
    with control_group() as group:
        inside = f'echo $$ > {group}/cgroup.procs; exec unshare --cgroup --mount --pid --fork --uts --ipc --net "$@"'
        command = ["/bin/sh", "-c", inside, "sh", "--kill-child", "/bin/sh", "-c", BOOT, SYSTEMD]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as unshared:
            try:
                pid = process_one(unshared)
                yield Machine(pid)
            finally:
                unshared.send_signal(signal.SIGKILL)  # and with it process 1 and all others of its namespace


def process_one(unshared: subprocess.Popen[bytes]) -> int:
    """The pid of systemd, once it answers."""
    until = time.monotonic() + 30.0
    while unshared.poll() is None and time.monotonic() < until:
        children = Path(f"/proc/{unshared.pid}/task/{unshared.pid}/children").read_text().split()
        if children:
            ready = ["nsenter", "-t", children[0], "--mount", "--pid", "systemctl", "is-active", "test.target"]
            if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
                return int(children[0])
        time.sleep(0.05)
    unshared.kill()
    said = unshared.stdout.read().decode() if unshared.stdout else ""
    pytest.skip(f"systemd does not come up in namespaces here: {said[-500:]}")


def test_those_active_are_stopped_and_started_again(machine: Machine) -> None:
    machine.run("systemctl", "start", "tuned.service", "irqbalance.service", "fstrim.timer")
    active = ["fstrim.timer", "irqbalance.service", "tuned.service"]
    assert machine.python("said = knob.show()")["value"] == active
    said = machine.python("said = knob.set([1], [0], undo).to_json(), knob.show()['value'], undo.entries()")
    outcome, left, entries = said
    assert (outcome["before"], outcome["effective"], outcome["ok"]) == (active, [], True)
    assert left == []
    assert {(entry["kind"], entry["unit"]) for entry in entries} == {("unit", unit) for unit in active}
    # Another process, as after a crash.
    report, again, empty = machine.python("said = undo.play(), knob.show()['value'], undo.empty")
    assert [each["reason"] for each in report] == [None] * 3
    assert all(each["ok"] for each in report)
    assert (again, empty) == (active, True)
    # What was not active is not started either.
    assert machine.python("said = Systemd(tree).units(['thermald.service'])[0].active") == "inactive"


def test_a_service_may_be_stopped_and_started_many_times(machine: Machine) -> None:
    """Systemd refuses the sixth start within ten seconds."""
    machine.run("systemctl", "start", "tuned.service")
    rounds = "said = [[knob.set([1], [0], undo).ok, *(each['ok'] for each in undo.play())] for _ in range(8)]"
    assert all(all(each) for each in machine.python(rounds))
    assert "tuned.service" in machine.python("said = knob.show()['value']")


def test_a_timers_work_is_not_interrupted(machine: Machine) -> None:
    machine.run("systemctl", "start", "--no-block", "fstrim.service")
    outcome = machine.python("said = knob.set([1], [0], undo).to_json(); undo.play()")
    assert outcome["effective"] == ["fstrim.service"]
    assert outcome["reason"] == "still active: fstrim.service"
    machine.run("systemctl", "stop", "fstrim.service")


def test_a_unit_that_vanished_or_cannot_start_is_told_so(machine: Machine) -> None:
    lines = ["[Unit]", "DefaultDependencies=no", "[Service]", "Type=exec", "ExecStart=/no/such/program"]
    machine.run("sh", "-c", "printf '%s\\n' \"$@\" > /run/systemd/system/broken.service", "sh", *lines)
    entries = [{"kind": "unit", "name": "services", "unit": unit} for unit in ("gone.service", "broken.service")]
    report, left = machine.python(f"undo.record({entries!r}); said = undo.play(), len(undo.entries())")
    told = {each["path"]: (each["ok"], str(each["reason"])) for each in report}
    assert told["gone.service"] == (True, "gone")
    assert not told["broken.service"][0]
    assert "failed" in told["broken.service"][1]
    assert left == 1


def test_a_unit_that_fails_again_and_again_is_left_doing_so(machine: Machine) -> None:
    lines = ["[Unit]", "DefaultDependencies=no", "[Service]", "Type=notify", "ExecStart=/bin/false"]
    lines += ["Restart=always", "RestartSec=1000"]
    machine.run("sh", "-c", "printf '%s\\n' \"$@\" > /run/systemd/system/numad.service", "sh", *lines)
    machine.run("sh", "-c", "systemctl start numad.service; test $? = 1")
    said = "said = knob.set([1], [0], undo).to_json(), undo.entries(), undo.play()"
    outcome, entries, report = machine.python(said)
    assert outcome["ok"]
    assert [each["before"] for each in entries if each["unit"] == "numad.service"] == ["activating"]
    assert [each["ok"] for each in report if each["path"] == "numad.service"] == [True]
    assert machine.python("said = Systemd(tree).units(['numad.service'])[0].active") == "activating"
    machine.run("systemctl", "stop", "numad.service")
