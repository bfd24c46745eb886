# SPDX-License-Identifier: Apache-2.0
"""What the tests of all probes share: to run one, to read what it left, to look at it while it runs."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time
import zlib
from pathlib import Path

import pytest
import yaml
from hdrh.histogram import HdrHistogram

ROOT = Path(__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0


def run(*argv, **kwargs):
    return subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=120, **kwargs)


def unprivileged(*argv):
    """The command without capabilities, however this test was started."""
    if not IS_ROOT:
        return [*map(str, argv)]
    if not shutil.which("setpriv"):
        pytest.skip("root without setpriv (Debian: util-linux) cannot drop its capabilities")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *map(str, argv)]


def measured(gap, out, *argv):
    done = run(gap, "--out", out, *argv)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return json.loads((out / "result.json").read_text())


def decoded(payload: bytes) -> HdrHistogram:
    squeezed = zlib.compress(payload)
    return HdrHistogram.decode(base64.b64encode(struct.pack(">II", 0x1C849314, len(squeezed)) + squeezed))


def a_cpu() -> int:
    return max(os.sched_getaffinity(0))


def assert_refused(done, *says):
    assert (done.returncode, done.stdout) == (3, "")
    assert re.fullmatch(r"\w+: error: [^\n]+; [^\n]+\n", done.stderr)
    for word in says:
        assert word in done.stderr


def state_of(pid: int) -> str | None:
    """The one letter of /proc, None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def cpu_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def waits(pid: int) -> int:
    """How often it went to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.M)[0])


def stopped_meanwhile(argv, under_way, seconds) -> None:
    """Run a probe to its good end, and stop it for so long as soon as it is ``under_way`` (asked with its pid)."""
    with subprocess.Popen(argv) as probe:
        try:
            assert wait_until(lambda: under_way(probe.pid))
            probe.send_signal(signal.SIGSTOP)
            assert wait_until(lambda: state_of(probe.pid) == "T")
            time.sleep(seconds)
            probe.send_signal(signal.SIGCONT)
            assert probe.wait(60) == 0
        finally:
            probe.kill()


def assert_described(probe: Path, name: str) -> dict:
    """The bench file and --describe say the same, but for what only one of them says. Returns the description."""
    described = json.loads(run(probe, "--describe").stdout)
    bench = yaml.safe_load((ROOT / "benches" / f"{name}.yaml").read_text())
    assert (bench["probe"], described["probe"], described["schema"]) == (name, name, 1)
    assert described["helper"] == bench.get("helper")
    assert described["attributes"] == bench.get("attributes", False)
    assert described["own_cost"].endswith(" of every value") or described["own_cost"].endswith(" in every value")
    said = ("type", "default", "choices")
    assert bench["params"] == {
        param: {key: told[key] for key in said if key in told} for param, told in described["params"].items()
    }
    for param in described["params"].values():
        assert param["help"]
        assert ("min" in param, "max" in param) == (("choices" not in param),) * 2
    assert {metric: told["better"] for metric, told in bench["metrics"].items()} == {
        metric: told["better"] for metric, told in described["metrics"].items()
    }
    gated = {metric for metric, told in bench["metrics"].items() if "gate" in told}
    assert gated == {metric for metric, told in described["metrics"].items() if told["kind"] == "histogram"}
    return described


def assert_histogram(out: Path, told: dict) -> HdrHistogram:
    """A histogram's file holds what the result says of it."""
    histogram = decoded((out / told["file"]).read_bytes())
    assert (histogram.significant_figures, histogram.highest_trackable_value) == (told["digits"], told["highest"])
    assert histogram.get_total_count() == told["recorded"]
    used = [i for i, count in enumerate(histogram.counts) if count]
    if used:
        assert used[0] == histogram._counts_index_for(told["min"])
        if not told["overflow"]:
            assert used[-1] == histogram._counts_index_for(told["max"])
    return histogram


def assert_idle_states(told: list[dict] | None, cpu: int) -> None:
    """What a result says of idle states is what this CPU has."""
    states = sorted(Path(f"/sys/devices/system/cpu/cpu{cpu}/cpuidle").glob("state*/name"))
    if not states:
        assert told is None
        return
    assert told is not None
    assert [state["name"] for state in told] == [path.read_text().strip() for path in states]
    assert all(state["entered"] >= 0 and state["time_ns"] >= 0 for state in told)


def calls_of(log: Path, tid: int | None = None) -> dict[str, int]:
    """How often each system call was begun, by a log of strace -f; of one thread, or of all."""
    who = r"\d+" if tid is None else str(tid)
    calls = re.findall(rf"^{who} +(\w+)\(", log.read_text(), re.M)
    return {call: calls.count(call) for call in set(calls)}
