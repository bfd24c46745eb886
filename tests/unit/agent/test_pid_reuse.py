# SPDX-License-Identifier: Apache-2.0
"""What is killed is ours: never a process that was given the number of one that ended before.

In a PID namespace, where the next number can be chosen.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

#: ``number`` is that of a child of ours which has ended; somebody else starts a process in its own session.
STRANGER = """
def until(true):
    end_s = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.005)
def stranger(number):
    open("/proc/sys/kernel/ns_last_pid", "w").write(str(number - 1))
    return subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True, env={})
"""
LOAD = """
from harness.agent.loads.argv import Argv
from harness.agent.spec import LoadSpec
load = Argv(LoadSpec("x", "argv", ["/bin/true"]), sorted(os.sched_getaffinity(0)))
load.start()
number = load.children[0].pid
load.begin()
until(lambda: load.end()["ended"] and open(f"/proc/{number}/stat").read().split()[2] == "Z")
bystander = stranger(number)
assert load.stop() == []
"""
SPIN = """
from harness.agent.loads import make
from harness.agent.spec import LoadSpec
load = make(LoadSpec("x", "spin"), [min(os.sched_getaffinity(0))])
load.start()
number = load.children[0].pid
load.begin()
os.kill(number, 9)
until(load.ended)
bystander = stranger(number)
assert load.stop() == []
"""
PROBE = """
from harness.agent.probe import ProbeProcess
probe = ProbeProcess(["/bin/true"], "/", None, os.sched_getaffinity(0))
number = probe.pid
until(lambda: probe.poll() is not None)
bystander = stranger(number)
probe.kill()
probe.close()
probe.kill()
"""
VERDICT = """
time.sleep(0.05)  # a signal on its way
assert bystander.poll() is None, f"{bystander.pid} was killed for {number}"
assert not os.path.exists(f"/proc/{number}") or number == bystander.pid, "it was not reaped"
print("spared")
"""


@pytest.mark.parametrize("what", [LOAD, SPIN, PROBE], ids=["a command's keeper", "a generator", "a probe"])
def test_who_has_the_number_now_is_spared(what: str) -> None:
    enter = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    can = subprocess.run([*enter, "test", "-w", "/proc/sys/kernel/ns_last_pid"], capture_output=True, check=False)
    if can.returncode != 0:
        pytest.skip("no PID namespace in which numbers can be chosen (root, CONFIG_CHECKPOINT_RESTORE)")
    text = "import os, subprocess, time\n" + STRANGER + what + VERDICT
    done = subprocess.run([*enter, sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "spared\n", done.stderr
