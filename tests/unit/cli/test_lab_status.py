# SPDX-License-Identifier: Apache-2.0
"""`lab status` on a terminal: nothing is cut, and one that is still coming up is not said to be up."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli.lab import table_of
from harness.lab.state import BoardFolder, Record, host_boot_id, process_start


def printed(record: Record, width: int) -> list[str]:
    file = io.StringIO()
    Console(width=width, file=file).print(table_of([record]))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Of a board that is up, its QEMU being this process."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    pid = os.getpid()
    started = process_start(pid) or 0
    image = "bookworm-x86_64"
    return Record("rpi-lab-name", "x86_64", 2, 1024, image, "stock", "tcg", 65535, "k", pid, started, host_boot_id())


def test_80_columns_have_room_for_all_of_it(record: Record) -> None:
    title, line = printed(record, 80)
    assert title.split()[:2] == ["board", "state"]
    assert line.split() == f"rpi-lab-name up bookworm-x86_64 stock 2, 1024 MB tcg 65535 {record.pid}".split()


def test_fewer_cut_nothing(record: Record) -> None:
    assert "…" not in "".join(printed(record, 50))


def test_one_that_somebody_works_on_is_busy_and_one_whose_qemu_ended_is_gone(record: Record) -> None:
    with BoardFolder(record.name).locked():
        assert printed(record, 80)[1].split()[1] == "busy"
    other = Record(**{**vars(record), "started_ticks": 1})
    assert printed(other, 80)[1].split()[1] == "gone"
