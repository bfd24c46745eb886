# SPDX-License-Identifier: Apache-2.0
"""Finished runs and uploaded probes: whole or not there, verified when read, deleted when acknowledged."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from harness.agent import blobs as blobs_module
from harness.agent.blobs import Blobs
from harness.agent.spec import SpecError
from harness.agent.spool import Entry, Spool, storage_full
from harness.agent.system import AgentError

RECORD = json.dumps({"status": "ok", "spec": {"attempt": 2}}).encode()


def fill(spool: Spool, run: str = "c-r1") -> Entry:
    folder = spool.begin("ex", run)
    Path(folder, "gap_ns.cpu1.hdr").write_bytes(b"histogram")
    return spool.finish("ex", run, {"record.json": RECORD, "log.txt": b""})


def test_a_run_goes_in_and_comes_out(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    entry = fill(spool)
    assert [each["name"] for each in entry.files] == ["record.json", "gap_ns.cpu1.hdr", "log.txt"]
    assert (entry.status, entry.attempt) == ("ok", 2)
    assert entry.sha256 == hashlib.sha256(RECORD).hexdigest()
    assert Spool(str(tmp_path)).list("ex") == [entry]
    assert spool.read("ex", "c-r1") == (entry, RECORD + b"histogram")
    spool.ack("ex", "c-r1")
    assert spool.list("ex") == []
    assert not (tmp_path / "spool/ex").exists()
    spool.ack("ex", "c-r1")  # twice is no error


def test_what_is_not_finished_is_not_there(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    folder = spool.begin("ex", "c-r1")
    Path(folder, "half").write_bytes(b"x")
    assert spool.list("ex") == []
    assert os.listdir(spool.begin("ex", "c-r1")) == []  # the next attempt starts clean


def test_a_later_attempt_replaces_an_earlier(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    fill(spool)
    spool.begin("ex", "c-r1")
    again = spool.finish("ex", "c-r1", {"record.json": RECORD.replace(b"2", b"3")})
    assert spool.list("ex") == [again]
    assert again.attempt == 3


@pytest.mark.parametrize("name", ["record.json", "gap_ns.cpu1.hdr", "MANIFEST"])
@pytest.mark.parametrize("damage", ["change", "cut", "remove"])
def test_damage_is_named(tmp_path: Path, name: str, damage: str) -> None:
    spool = Spool(str(tmp_path))
    fill(spool)
    path = tmp_path / "spool/ex/c-r1" / name
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data[:-1] + (b"" if damage == "cut" else bytes([data[-1] ^ 1])))
    with pytest.raises(AgentError) as caught:
        spool.read("ex", "c-r1")
    assert caught.value.kind == "corrupt"
    spool.ack("ex", "c-r1")
    with pytest.raises(AgentError) as caught:
        spool.read("ex", "c-r1")
    assert caught.value.kind == "missing"


@pytest.mark.parametrize("run", ["../c-r1", "", ".x", "a/b"])
def test_no_name_leaves_the_spool(tmp_path: Path, run: str) -> None:
    spool = Spool(str(tmp_path))
    for act in (spool.begin, spool.read, spool.ack, spool.get):
        with pytest.raises(SpecError):
            act("ex", run)
        with pytest.raises(SpecError):
            act(run, "c-r1")


def test_a_full_disk_has_a_name_of_its_own() -> None:
    assert storage_full(OSError(28, "No space left on device"), "x").kind == "storage-full"
    assert storage_full(OSError(122, "Disk quota exceeded"), "x").kind == "storage-full"
    other = storage_full(OSError(5, "Input/output error"), "x")
    assert (other.kind, other.fault) == ("spool", "environment")


def put(blobs: Blobs, data: bytes) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    blobs.put("gap", sha256, data)
    return sha256


def test_blobs_are_executable_and_verified(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    sha256 = put(blobs, b"#!/bin/true")
    path = blobs.verified(sha256)
    assert os.access(path, os.X_OK)
    Path(path).write_bytes(b"#!/bin/evil")
    with pytest.raises(AgentError) as caught:
        blobs.verified(sha256)
    assert caught.value.kind == "corrupt"
    assert blobs.find(sha256) is None  # so that it is uploaded anew
    with pytest.raises(AgentError) as caught:
        blobs.verified(sha256)
    assert caught.value.kind == "missing-blob"


def test_a_blob_that_is_not_what_it_says_is_refused(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    with pytest.raises(AgentError, match="damaged"):
        blobs.put("gap", "0" * 64, b"data")
    for bad in ("../../etc", "0" * 63, "Z" * 64):
        with pytest.raises(SpecError):
            blobs.put("gap", bad, b"data")
    assert os.listdir(tmp_path) == []


def test_the_newest_unused_blobs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "KEEP_UNUSED", 2)
    blobs = Blobs(str(tmp_path))
    hashes = [put(blobs, bytes([number])) for number in range(5)]
    blobs.prune([hashes[0]])
    assert [blobs.find(sha256) is not None for sha256 in hashes] == [True, False, False, True, True]


@pytest.mark.parametrize("clock_s", [0, 1 << 33])
def test_a_blob_in_use_outlives_newer_ones_whatever_the_clock_says(
    clock_s: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs_module, "KEEP_UNUSED", 2)
    blobs = Blobs(str(tmp_path))
    hashes = [put(blobs, bytes([number])) for number in range(4)]
    for sha256 in hashes[1:]:
        os.utime(tmp_path / "blobs" / sha256, (clock_s, clock_s))
    blobs.verified(hashes[0])
    blobs.prune([])
    assert blobs.find(hashes[0]) is not None
    assert sum(blobs.find(sha256) is not None for sha256 in hashes) == 2
