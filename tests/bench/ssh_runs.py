# SPDX-License-Identifier: Apache-2.0
"""What a campaign costs beyond its measurements: runs over SSH, on a throwaway sshd of this machine, its target warm.

``python -m tests.bench.ssh_runs [RUNS [SECONDS]]``: 100 runs of 1 s with no settling, in one batch. Prints one line of
JSON: ``seconds`` from the call to the outcome, and where the overhead goes: ``connect_s`` until the batch is handed
over, and the median per run in ms: ``run_ms`` from the agent's start of a run to the controller's having stored it,
beyond the duration; ``next_ms`` from there to the next start; ``close_s`` after the last run.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from harness.campaign import execution as executions
from harness.campaign.carry_out import carry_out
from harness.campaign.events import Event
from harness.config.campaign import load_campaign
from harness.config.inventory import load_inventory
from harness.plan import build_plan
from tests.loopback.campaign_kit import own_namespaces

BAR_S = 110.0


def keygen(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[dict[str, Any]]:
    """The inventory's keys for a server of our own."""
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(program).exists():
        raise SystemExit("ssh_runs: sshd is not installed (Debian: openssh-server)")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    host_key, user_key = keygen(folder / "host"), folder / "user"
    (folder / "authorized_keys").write_text(keygen(user_key) + "\n")
    lines = [
        f"ListenAddress 127.0.0.1:{port}",
        f"HostKey {folder}/host",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        f"SetEnv HOME={folder}",
        "StrictModes no",
        "UsePAM no",
        "PermitRootLogin yes",
        "PidFile none",
    ]
    (folder / "config").write_text("\n".join(lines) + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = subprocess.Popen([program, "-D", "-f", str(folder / "config")], stdin=subprocess.DEVNULL)
    try:
        end_s = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if time.monotonic() > end_s or server.poll() is not None:
                raise SystemExit("ssh_runs: sshd did not start")
            time.sleep(0.02)
        me = getpass.getuser()
        yield {"address": "127.0.0.1", "port": port, "user": me, "identity": str(user_key), "host_key": host_key}
    finally:
        server.terminate()
        server.wait()


def carried_out(folder: Path, runs: int, duration_s: float) -> tuple[float, list[tuple[float, Event]]]:
    """Seconds that a campaign took, and its events with the time of each."""
    campaign = {
        "campaign": "bench",
        "targets": ["box"],
        "benches": ["gap"],
        "axes": {"mode": ["pinned"], "load": ["idle"]},
        "settle": "0s",
        "duration": f"{duration_s:g}s",
        "repeat": runs,
        "retry": {"invalid": 0},
    }
    (folder / "bench.yaml").write_text(json.dumps(campaign))
    inventory = load_inventory(folder / "lab.yaml")
    plan = build_plan(load_campaign(folder / "bench.yaml"), inventory)
    execution = executions.create(plan, folder / "results", folder / "lab.yaml")
    events: list[tuple[float, Event]] = []
    started_s = time.monotonic()
    outcome = carry_out(execution, inventory, listeners=[lambda event: events.append((time.monotonic(), event))])
    seconds = time.monotonic() - started_s
    if outcome.finished != runs:
        raise SystemExit(f"ssh_runs: {outcome.sentence}; {outcome.lanes[0].failure}")
    return seconds, [(at_s - started_s, event) for at_s, event in events]


def figures(runs: int, duration_s: float, seconds: float, events: list[tuple[float, Event]]) -> dict[str, Any]:
    def times(kind: str) -> list[float]:
        return [at_s for at_s, event in events if event["kind"] == kind]

    begun, stored = times("run-started"), times("run-stored")
    run_ms = [1000 * (end - start - duration_s) for start, end in zip(begun, stored, strict=True)]
    next_ms = [1000 * (start - end) for end, start in zip(stored, begun[1:], strict=False)]
    return {
        "name": "ssh_runs",
        "runs": runs,
        "seconds": round(seconds, 2),
        "bar": BAR_S,
        "within": seconds <= BAR_S,
        "connect_s": round(times("batch-submitted")[0], 3),
        "run_ms": round(median(run_ms), 1),
        "next_ms": round(median(next_ms), 1) if next_ms else None,
        "close_s": round(seconds - stored[-1], 3),
    }


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    duration_s = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    with contextlib.ExitStack() as stack:
        if os.geteuid() == 0:
            stack.enter_context(own_namespaces())  # beside whatever agent this machine has
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isolbench-bench-")))
        keys = stack.enter_context(sshd(folder))
        (folder / "lab.yaml").write_text(json.dumps({"targets": {"box": keys}}))
        carried_out(folder, 1, 0.05)  # warm: agent and probe are there
        print(json.dumps(figures(runs, duration_s, *carried_out(folder, runs, duration_s))))


if __name__ == "__main__":
    main()
