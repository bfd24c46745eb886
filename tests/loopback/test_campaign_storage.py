# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, read-only or failing, here and on the target; and spool entries that are damaged or forged."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.execution import Execution

from .campaign_kit import ROOT, Lab, complete, measuring, needs_root, once, spooled, tidy, wait_for
from .conftest import Server, User

STATE = Path("/var/lib/isolbench") if ROOT else None


def state() -> Path:
    return STATE or Path(os.environ["HOME"]) / ".local/state/isolbench"


def fill(folder: Path, leave: int = 0) -> Path:
    """Take all the space in the file system of ``folder``, but for some bytes."""
    ballast = folder / "ballast"
    info = os.statvfs(folder)
    with ballast.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(1, info.f_bavail * info.f_frsize - leave))
        except OSError:
            file.write(b"\0" * 4096)
    return ballast


def mount_small(folder: Path, size: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(folder)], check=True)


@needs_root
class TestFull:
    def test_the_targets_spool(self, lab: Lab) -> None:
        mount_small(state(), "8m")
        execution = lab.execution(repeat=3)
        ballast: list[Path] = []
        outcome = lab.carry_out(execution, once(lambda: ballast.append(fill(state(), 100_000)), "run-stored"))
        (lane,) = outcome.lanes
        assert outcome.exit_code == 3
        assert "agent: less than 1 MiB free in /var/lib/isolbench/spool" in str(lane.failure)
        assert lane.advice == "free space there, then resume"
        assert 1 <= outcome.finished < 3
        assert spooled() == []
        tidy(execution)
        ballast[0].unlink()
        assert lab.carry_out(execution).exit_code == 0
        complete(execution)

    def test_the_place_for_the_agent(self, lab: Lab, start_sshd: Callable[..., Server]) -> None:
        places = ("$home", "/var/tmp", "/dev/shm", "/run/user", "/tmp")
        full = start_sshd(mounts=["mkdir -p /run/user", *(f"mount -t tmpfs -o size=1m none {each}" for each in places)])
        lab.add(full)
        said = lab.cli("run", str(lab.campaign()))
        assert said.code == 3
        assert said.lines[0].startswith("isolbench: box: no space: ")
        assert "advice: free 16 MiB in " in said.err
        lab.add(start_sshd())
        assert lab.cli("resume", "short").code == 0
        complete(lab.newest())

    def test_the_controllers_results(self, lab: Lab) -> None:
        mount_small(lab.results, "4m")
        execution = lab.execution(repeat=3)
        ballast: list[Path] = []
        outcome = lab.carry_out(execution, once(lambda: ballast.append(fill(lab.results)), "run-stored"))
        (lane,) = outcome.lanes
        assert outcome.exit_code == 3
        assert "No space left on device" in str(lane.failure)
        assert "free some space and resume" in str(lane.advice)
        assert outcome.finished == 1
        assert measuring() == []  # nobody would take what it measured
        tidy(execution)
        ballast[0].unlink()
        assert lab.carry_out(execution).exit_code == 0
        complete(execution)
        assert spooled() == []

    def test_the_controllers_results_from_the_start(self, lab: Lab) -> None:
        mount_small(lab.results, "64k")
        ballast = fill(lab.results)
        path = lab.campaign()
        said = lab.cli("run", str(path))
        assert said.code == 3
        assert "No space left on device" in said.lines[0]
        assert len(said.lines) == 1
        assert not list(lab.results.glob("short/*"))
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=8m", str(lab.results)], check=True)
        assert lab.cli("run", str(path)).code == 0

    def test_a_read_only_home(
        self, lab: Lab, start_sshd: Callable[..., Server], make_user: Callable[..., User]
    ) -> None:
        user = make_user()
        mounts = [f"mount --bind {user.home} {user.home}", f"mount -o remount,ro,bind {user.home}"]
        lab.add(start_sshd(home=False, mounts=mounts), user=user.name)
        said = lab.cli("run", str(lab.campaign()))
        assert said.code == 0, said.err
        execution = lab.newest()
        complete(execution)
        contact = json.loads((execution.path / "lanes/box.json").read_text())["contact"]
        assert contact["deploy_root"] == f"/var/tmp/isolbench-{user.uid}"
        assert "Read-only file system" in contact["notes"][0]
        assert not list(user.home.glob(".cache"))


# -- the spool ------------------------------------------------------------------------------------------------------


@pytest.fixture
def left_behind(lab: Lab) -> Callable[[int], tuple[Execution, list[Path]]]:
    """``left_behind(n)``: all is measured and ``n`` runs, or some more, lie in the spool; who asked was killed."""

    def make(least: int) -> tuple[Execution, list[Path]]:
        path = lab.campaign(repeat=least + 4, duration="10ms", retry={"infrastructure": 1, "invalid": 0})
        with lab.start("run", str(path)) as controller:
            wait_for(lambda: lab.events("batch-submitted"), "it is under way")
            controller.kill()
        execution = lab.newest()
        wanted = len(execution.run_names["local"] - execution.finished("local"))
        assert wanted >= least, "it was measured too fast"
        wait_for(lambda: len([name for name in spooled() if not name.startswith("tmp-")]) == wanted, "all is measured")
        return execution, sorted((state() / "spool" / execution.spool).iterdir())

    return make


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def histogram(entry: Path) -> Path:
    return next(entry.glob("gap_ns.cpu*.hdr"))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped byte in the histogram": lambda entry: flip(histogram(entry)),
    "a flipped byte in the record": lambda entry: flip(entry / "record.json"),
    "a truncated record": lambda entry: os.truncate(entry / "record.json", 100),
    "a truncated histogram": lambda entry: os.truncate(histogram(entry), 10),
    "a truncated MANIFEST": lambda entry: os.truncate(entry / "MANIFEST", 20),
    "a MANIFEST without its hashes": lambda entry: (entry / "MANIFEST").write_text('{"files": [{}]}'),
    "an empty MANIFEST": lambda entry: (entry / "MANIFEST").write_text('{"files": []}'),
    "no histogram": lambda entry: histogram(entry).unlink(),
    "an empty folder": lambda entry: [path.unlink() for path in entry.iterdir()],
}


def attempts(execution: Execution) -> dict[str, dict[str, Any]]:
    """What is said of the failed attempts, by the run's name; each run has one."""
    found = [json.loads(path.read_text()) for path in execution.path.glob("attempts/local/*/attempt.json")]
    assert len({document["run"] for document in found}) == len(found)
    return {document["run"]: document for document in found}


def test_a_damaged_entry_is_a_failed_attempt_and_measured_again(
    lab: Lab, left_behind: Callable[[int], tuple[Execution, list[Path]]]
) -> None:
    execution, entries = left_behind(len(DAMAGE) + 1)
    damaged = dict(zip(DAMAGE, entries, strict=False))
    for damage, entry in damaged.items():
        DAMAGE[damage](entry)
    assert lab.carry_out(execution).exit_code == 0
    complete(execution)
    assert spooled() == []
    said = attempts(execution)
    assert said.keys() == {entry.name for entry in damaged.values()}  # each of them, and none of the others
    for damage, entry in damaged.items():
        document = said[entry.name]
        assert document["fault"] == "infrastructure", damage
        assert "what the target kept is damaged" in document["reason"], damage
    assert [event["runs"] for event in lab.events("batch-submitted")][1:] == [len(damaged)]


# -- forged: the record says something else, and its MANIFEST agrees ------------------------------------------------


def forge(entry: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((entry / "record.json").read_text())
    change(record)
    (entry / "record.json").write_text(json.dumps(record))
    manifest = json.loads((entry / "MANIFEST").read_text())
    data = (entry / "record.json").read_bytes()
    manifest["files"][0] = {"name": "record.json", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (entry / "MANIFEST").write_text(json.dumps(manifest))


EVIL = "\x1b]0;owned\x07\x1b[2J<script>alert(1)</script>\u202e\r\nisolbench: all is well"


def _fail(record: dict[str, Any]) -> None:
    record.update(status="failed", reason=EVIL, fault="environment")


FORGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a run outside": lambda record: record.update(run="../../../../evil"),
    "a run outside, in the spec too": lambda record: (
        record.update(run="../../evil"), record["spec"].update(run="../../evil", cell="../../evil")
    ),
    "another cell's run": lambda record: record.update(run="gap.pinned.idle-000000000000-r1"),
    "no run": lambda record: record.pop("run"),
    "a list for a spec": lambda record: record.update(spec=[]),
    "a spec that was not asked for": lambda record: record["spec"].update(duration_ns=1),
    "parameters that were not asked for": lambda record: record["spec"]["probe"]["params"].update(threshold="1s"),
    "a huge number": lambda record: record["results"][0]["histograms"]["gap_ns"].update(max=10**400),
    "not a number": lambda record: record["results"][0]["scalars"]["stolen_ppm"].update(value=float("nan")),
    "a negative count": lambda record: record["results"][0]["histograms"]["gap_ns"].update(recorded=-(10**30)),
    "a metric outside": lambda record: record["results"][0]["histograms"].update({"../../evil": {}}),
    "a newer schema": lambda record: record.update(schema=99),
    "a number for a status": lambda record: record.update(status=7),
    "a failure that lies about its fault": lambda record: record.update(status="failed", reason="x", fault="none's"),
    "a failure with control characters": _fail,
    "a file that is not there": lambda record: record["files"].append({"name": "x", "size": 1, "sha256": "0" * 64}),
}  # fmt: skip


def plain(text: str) -> bool:
    """Nothing in it that a terminal would obey."""
    return all(each.isprintable() or each == "\n" for each in text)


def test_a_forged_record_is_refused(
    lab: Lab, left_behind: Callable[[int], tuple[Execution, list[Path]]], tmp_path: Path
) -> None:
    execution, entries = left_behind(len(FORGED) + 1)
    forged = dict(zip(FORGED, entries, strict=False))
    for forgery, entry in forged.items():
        forge(entry, FORGED[forgery])

    def around() -> set[Path]:
        mine = (execution.path, tmp_path / "controller")  # the results, and HOME with the deployed agent
        return {path for path in tmp_path.rglob("*") if not any(path.is_relative_to(each) for each in mine)}

    before = around()
    said = lab.cli("resume", "short")
    assert said.code == 0, said.err
    complete(execution)
    told = attempts(execution)
    assert told.keys() == {entry.name for entry in forged.values()}
    for forgery, entry in forged.items():
        assert (execution.path / "attempts/local" / f"{entry.name}-a1").is_dir(), forgery
    assert around() == before
    assert spooled() == []
    assert plain(said.out)
    assert plain(said.err)
    assert "alert(1)" in said.err  # shown, but
    assert not [line for line in said.lines if "all is well" in line]  # not as a line of ours


def test_reasons_are_escaped_in_the_report(
    lab: Lab, left_behind: Callable[[int], tuple[Execution, list[Path]]]
) -> None:
    def suspicious(record: dict[str, Any]) -> None:
        reason = {"rule": "<b>rule", "state": "suspect", "text": EVIL, "advice": EVIL}
        record["validity"] = {"state": "suspect", "reasons": [reason]}

    execution, entries = left_behind(2)
    forge(entries[0], _fail)
    forge(entries[1], suspicious)
    assert lab.carry_out(execution).exit_code == 0
    said = lab.cli("report", str(execution.path))
    assert said.code == 0, said.err
    page = (execution.path / "report.html").read_text()
    assert "alert(1)" in page
    assert "<script>alert(1)" not in page
    assert "<b>rule" not in page
    for command in ("show", "status"):
        shown = lab.cli(command, str(execution.path))
        assert shown.code == 0, shown.err
        assert plain(shown.out)


def test_an_entry_that_nobody_asked_for_is_left_where_it_is(
    lab: Lab, left_behind: Callable[[int], tuple[Execution, list[Path]]]
) -> None:
    execution, entries = left_behind(1)
    stranger = entries[0].with_name("gap.other-000000000000-r1")
    shutil.copytree(entries[0], stranger)
    said = lab.cli("resume", "short")
    assert said.code == 0, said.err
    assert "gap.other-000000000000-r1: spooled for this execution, which does not ask for it: left there" in said.err
    complete(execution)
    assert spooled() == [stranger.name]
