# SPDX-License-Identifier: Apache-2.0
"""The log of events: lines of JSON that survive a kill, and that no listener and no disk can stop."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from harness.campaign.events import Event, EventLog, read_events


def test_a_line_for_each(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("run-stored", run="a", self=1, kind_="x")
    log.emit("odd", text="\u2028\n\x1b[2J")
    log.close()
    text = (tmp_path / "events.jsonl").read_text("ascii")
    assert len(text.splitlines()) == 2
    first, second = read_events(tmp_path / "events.jsonl")
    assert (first["kind"], first["run"], first["self"]) == ("run-stored", "a", 1)
    assert second["text"] == "\u2028\n\x1b[2J"


def test_what_a_target_calls_kind_or_at_does_not_count(tmp_path: Path) -> None:
    seen: list[Event] = []
    log = EventLog(tmp_path / "events.jsonl", seen.append)
    log.emit("real", kind="forged", at="never")
    log.close()
    assert (seen[0]["kind"], seen[0]["at"] == "never") == ("real", False)


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b'{"kind": "a"}\n[1]\n\xff\n{"kind": "b"}\n{"kind": "c')
    assert [event["kind"] for event in read_events(tmp_path / "e")] == ["a", "b"]
    assert list(read_events(tmp_path / "none")) == []


def test_a_full_disk_is_told_once_and_stops_nothing() -> None:
    seen: list[Event] = []
    log = EventLog(Path("/dev/full"), seen.append)
    log.emit("a")
    log.emit("b")
    log.close()
    assert [event["kind"] for event in seen] == ["a", "events-lost", "b"]
    assert "No space left" in seen[1]["message"]


def test_no_folder_is_told_once_and_stops_nothing(tmp_path: Path) -> None:
    seen: list[Event] = []
    log = EventLog(tmp_path / "none/events.jsonl", seen.append)
    log.emit("a")
    log.emit("b")
    assert [event["kind"] for event in seen] == ["a", "events-lost", "b"]


def test_a_listener_that_breaks_is_not_asked_again(tmp_path: Path) -> None:
    calls: list[str] = []
    seen: list[Event] = []

    def gone(event: Event) -> None:
        calls.append(event["kind"])
        raise BrokenPipeError

    log = EventLog(tmp_path / "e", gone, seen.append)
    log.emit("a")
    log.emit("b")
    log.close()
    assert calls == ["a"]
    assert len(seen) == len(list(read_events(tmp_path / "e"))) == 2


def test_lanes_do_not_mix_their_lines(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "e")
    threads = [
        threading.Thread(target=lambda n=n: [log.emit("x", lane=n, text="y" * 5000) for _ in range(20)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    lines = (tmp_path / "e").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 160
