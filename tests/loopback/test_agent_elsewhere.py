# SPDX-License-Identifier: Apache-2.0
"""The agent where it has less: no privilege, and Debian bullseye's Python 3.9."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agent.spec import LoadSpec
from harness.errors import Busy
from harness.target.client import split_files

from .agent_kit import (
    EXECUTION,
    MEASURED,
    Agent,
    agent_in,
    listen,
    run_spec,
    settings,
    soon,
    submit,
    until,
    without_measured,
)
from .unpacked import unpacked

pytestmark = [
    pytest.mark.skipif(without_measured() is not None, reason=str(without_measured())),
    pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user, and chroot, take root"),
]
NOBODY = 65534


@pytest.fixture
def nobodys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of nobody's that nobody can get to."""
    base = Path(f"/tmp/isolbench-test-nobody-{os.getpid()}")
    base.mkdir(mode=0o755)
    os.chown(base, NOBODY, NOBODY)
    yield base
    shutil.rmtree(base)


def unprivileged(base: Path) -> dict[str, object]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("no setpriv here")
    become = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all"]
    return {"prefix": ["env", "-i", f"HOME={base}", "PATH=/usr/bin:/bin", *become], "python": _public_python()}


def _public_python() -> str:
    """An interpreter that nobody can execute: the tests' own may lie in somebody's home."""
    for path in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if os.path.exists(path):
            return path
    pytest.skip("no python3 outside a home folder")


def test_without_privilege_it_measures_and_says_what_it_could_not(nobodys: Path, gap: bytes) -> None:
    with agent_in(nobodys, **unprivileged(nobodys)) as agent:  # type: ignore[arg-type]
        before = settings()
        client = agent.attach()
        assert client.welcome["uid"] == NOBODY
        assert client.welcome["facts"]["privileges"]["root"] is False
        assert client.welcome["facts"]["privileges"]["sys_nice"] is False
        sha256 = client.put("gap", gap, soon())
        spin = LoadSpec("spin", "spin")
        runs = [run_spec(n, sha256, mode=mode, load=spin) for n, mode in enumerate(("shared", "pinned", "fifo"), 1)]
        submit(client, runs)
        heard = listen(client)
        shared, pinned, fifo = (json.loads(heard.runs[run.run]["record.json"]) for run in runs)
        assert shared["status"] == pinned["status"] == "ok"
        knobs = {knob["name"]: knob for knob in pinned["knobs"]}
        assert knobs["irq-affinity"]["errno"] == "EACCES"
        assert not knobs["irq-affinity"]["ok"]
        assert "root" in knobs["irq-affinity"]["advice"]
        assert knobs["cpu-dma-latency"]["errno"] == "EACCES"
        assert (fifo["status"], fifo["fault"]) == ("failed", "environment")
        assert "CAP_SYS_NICE" in fifo["reason"]
        assert settings() == before


def at_work(agent: Agent, gap: bytes) -> None:
    client = agent.attach()
    sha256 = client.put("gap", gap, soon())
    submit(client, [run_spec(1, sha256, mode="shared", duration_ns=3600 * 10**9)])
    until(lambda: (frame := client.next(soon())) and frame.head.get("kind") == "run-started", "it did not start")


def test_another_users_agent_is_not_ours_to_use(nobodys: Path, tmp_path: Path, gap: bytes) -> None:
    with agent_in(nobodys, **unprivileged(nobodys)) as theirs:  # type: ignore[arg-type]
        at_work(theirs, gap)
        ours = Agent(tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Agent, "socket", theirs.socket)
            with pytest.raises(Busy, match=f"an agent of uid {NOBODY} is at work on this machine"):
                ours.attach()
            ours.clients[0].close()


def test_roots_agent_refuses_another_user(nobodys: Path, tmp_path: Path, gap: bytes) -> None:
    with agent_in(tmp_path) as ours:
        at_work(ours, gap)
        theirs = Agent(nobodys, **unprivileged(nobodys))  # type: ignore[arg-type]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Agent, "socket", ours.socket)
            with pytest.raises(Busy, match="an agent of uid 0 is at work on this machine"):
                theirs.attach()
            theirs.clients[0].close()


def test_another_users_agent_without_work_is_waited_for(nobodys: Path, tmp_path: Path) -> None:
    with agent_in(nobodys, **unprivileged(nobodys), idle_s=0.5) as theirs:  # type: ignore[arg-type]
        theirs.attach().close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Agent, "socket", theirs.socket)
            ours = Agent(tmp_path)
            assert ours.attach().welcome["uid"] == 0
            ours.end()


@pytest.fixture(scope="session")
def bullseye() -> Path:
    """Debian bullseye's Python 3.9."""
    return unpacked("bullseye-python3", "bullseye", "python3")


#: Its own mounts, seen by nobody else; the test's folder is /mnt in there.
INSIDE = """
for each in proc sys dev; do mkdir -p "$1/$each"; mount --rbind /$each "$1/$each" || exit 1; done
mkdir -p "$1/mnt"; mount --bind "$2" "$1/mnt" || exit 1
root=$1; shift 2
exec chroot "$root" "$@"
"""


def test_python_3_9_carries_out_a_batch(bullseye: Path, tmp_path: Path, gap: bytes) -> None:
    prefix = ["unshare", "--mount", "--propagation=private", "sh", "-c", INSIDE, "sh", str(bullseye), str(tmp_path)]
    probe = subprocess.run([*prefix, "/usr/bin/python3.9", "-V"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"cannot chroot here: {probe.stderr.strip()}")
    with agent_in(tmp_path, prefix=prefix, python="/usr/bin/python3.9", folders="/mnt") as agent:
        before = settings()
        client = agent.attach()
        assert client.welcome["python"].startswith("3.9.")
        sha256 = client.put("gap", gap, soon())
        runs = [
            run_spec(n, sha256, mode=mode, load=LoadSpec(load, load, []))
            for n, (mode, load) in enumerate([("shared", "memory"), ("pinned", "syscalls"), ("fifo", "spin")], 1)
        ]
        busy = LoadSpec("busy", "argv", ["/usr/bin/python3.9", "-c", "while True: pass"])  # there is no shell in there
        runs.append(run_spec(4, sha256, load=busy))
        submit(client, runs)
        heard = listen(client)
        assert (heard.last["done"], heard.last["failed"]) == (4, 0)
        assert f"gap_ns.cpu{MEASURED}.hdr" in heard.runs[runs[2].run]
        hour = run_spec(5, sha256, mode="fifo", duration_ns=3600 * 10**9)
        submit(client, [hour])
        assert client.cancel(soon())
        assert client.list_runs(EXECUTION, soon())["runs"] == []
        submit(client, [run_spec(6, sha256, mode="shared")])
        assert split_files(listen(client).frames[0])
        done = agent.command("restore")
        assert done.returncode == 0, done.stderr
        assert settings() == before
