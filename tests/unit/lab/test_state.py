# SPDX-License-Identifier: Apache-2.0
"""What is known of boards: whose lock it is, which process is a board's, and that nothing stays of one taken down."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.errors import BoardDown, Busy
from harness.lab import boards, way
from harness.lab import watch as watching
from harness.lab.machine import qemu_name
from harness.lab.state import BoardFolder, Record, folders, host_boot_id, process_start
from harness.lab.watch import Watch

PANIC = "[   5.0] Kernel panic - not syncing: oh\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BoardFolder:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    found = BoardFolder("box")
    found.path.mkdir(parents=True)
    return found


@contextmanager
def qemu_in(folder: BoardFolder, called: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a board's QEMU, as far as it is looked at."""
    call = [sys.executable, "-c", "import time; time.sleep(600)", "-name", called]
    with subprocess.Popen(call, cwd=folder.path) as process:
        try:
            yield process
        finally:
            process.kill()


def record(**changed: object) -> Record:
    said: dict[str, object] = {
        "name": "box", "arch": "x86_64", "cpus": 2, "memory_mb": 512, "image": "i", "kernel": "stock", "accel": "tcg",
        "port": 22, "host_key": "k", "pid": os.getpid(), "started_ticks": process_start(os.getpid()),
        "boot_id": host_boot_id(),
    }  # fmt: skip
    return Record(**{**said, **changed})  # type: ignore[arg-type]


def test_a_qemu_that_nothing_was_written_down_of_is_ended_and_no_other(folder: BoardFolder) -> None:
    with qemu_in(folder, qemu_name("box")) as ours, qemu_in(folder, qemu_name("other")) as other:
        assert boards.down("box")
        assert ours.wait(10) < 0
        assert other.poll() is None
    assert not folder.path.exists()


def test_also_where_its_folder_was_removed_under_it(folder: BoardFolder) -> None:
    with qemu_in(folder, qemu_name("box")) as ours:
        folder.remove()
        folder.end()
        assert ours.wait(10) < 0


def test_a_lock_of_a_folder_that_was_removed_is_no_lock(folder: BoardFolder) -> None:
    with folder.locked():
        with pytest.raises(Busy, match="another isolbench is working on board box"), BoardFolder("box").locked():
            pass
        folder.remove()
        with BoardFolder("box").locked(), pytest.raises(Busy), BoardFolder("box").locked():
            pass


def test_who_takes_a_board_down_has_whoever_brings_it_up_give_up_first(folder: BoardFolder) -> None:
    held, asked = threading.Event(), threading.Event()

    def coming() -> None:
        with folder.locked():
            held.set()
            while not folder.asked_down():
                asked.wait(0.01)

    thread = threading.Thread(target=coming)
    thread.start()
    held.wait(10)
    assert boards.down("box")
    thread.join(10)
    assert not thread.is_alive()
    assert folders() == []


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (None, "board box is not up"),
        ("{", "board box is not up"),
        ({"boot_id": "another"}, "board box is not up: this machine was booted since"),
        ({"started_ticks": 1}, r"QEMU \(pid [0-9]+\) ended by itself: panic: .*not syncing: oh"),
    ],
)
def test_a_board_that_is_not_up_says_why(
    folder: BoardFolder, written: dict[str, object] | str | None, says: str
) -> None:
    folder.console.write_text(f"[    0.0] Linux version 6.1\n{PANIC}")
    if isinstance(written, str):
        (folder.path / "board.json").write_text(written)
    elif written is not None:
        folder.write(record(**written))
    with pytest.raises(BoardDown, match=f"{says}$") as caught:
        way.up_now("box")
    assert str(caught.value.advice).endswith("isolbench lab up box")


def test_a_record_that_is_whole_is_of_a_board_that_is_up(folder: BoardFolder) -> None:
    folder.write(record())
    assert way.up_now("box") == record()


@pytest.mark.parametrize(
    ("said", "fate"),
    [
        ("", None),
        ("[   4.0] lab: all is well\n", None),
        ("[   4.0] watchdog: BUG: soft lockup - CPU#1 stuck for 26s!\n", None),
        (PANIC, "panic: [   5.0] Kernel panic - not syncing: oh"),
        (PANIC + "[    0.0] Linux version 6.1\n", "panic: [   5.0] Kernel panic - not syncing: oh"),
        ("[    0.0] Linux version 6.1\n", "it booted, or was switched off: [    0.0] Linux version 6.1"),
        ("[   9.0] reboot: Power down\n", "it booted, or was switched off: [   9.0] reboot: Power down"),
    ],
)
def test_a_console_tells_that_a_board_went_down_since(folder: BoardFolder, said: str, fate: str | None) -> None:
    folder.console.write_text(f"[    0.0] Linux version 6.1\n{PANIC}[    0.0] Linux version 6.1\n")
    watch = Watch("box")
    assert watch.fate() is None
    with folder.console.open("a") as console:
        console.write(said)
    assert watch.fate() == fate
    assert watch.text() == said
    folder.console.write_text("new\n")  # it was taken down and brought up again
    assert watch.text() == "new\n"


def test_of_a_board_that_does_not_stop_talking_the_end_is_read(
    folder: BoardFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.console.write_text("before\n")
    watch = Watch("box")
    monkeypatch.setattr(watching, "MOST_BYTES", 20)
    with folder.console.open("a") as console:
        console.write("again and again\n" * 9 + "the end\n")
    assert watch.text() == "gain and again\nthe end\n"[-20:]


def test_boards_there_is_anything_of(folder: BoardFolder, tmp_path: Path) -> None:
    assert [each.name for each in folders()] == ["box"]
    assert boards.down("box")
    assert list(tmp_path.rglob("*")) == [tmp_path / "isolbench"]
    assert boards.down("box") is False
