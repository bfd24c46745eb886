# SPDX-License-Identifier: Apache-2.0
"""The rate of this machine's counter: what the probe measured, or nothing where it cannot be known."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.build import Built, build_probe
from harness.errors import BuildError
from harness.lab import tsc
from harness.toolchain import native_arch


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """It is measured once a process: for these tests, and for those after them, anew."""
    tsc.khz.cache_clear()
    yield
    tsc.khz.cache_clear()


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """On an x86 machine, a probe that is this shell script; its arguments are the real one's."""
    program = tmp_path / "gap"

    def is_now(script: str) -> None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def built(name: str, arch: str) -> Built:
        assert (name, arch) == ("gap", "x86_64")
        return Built(program, "", "", (), arch)

    monkeypatch.setattr(tsc, "native_arch", lambda: "x86_64")
    monkeypatch.setattr(tsc, "build_probe", built)
    return is_now


def says(source: str) -> str:
    """A probe's script: a result whose clock is ``source``, of 2.5960004 GHz."""
    result = json.dumps({"clock": {"source": source, "frequency_hz": 2_596_000_400}})
    return f'while [ $# -gt 1 ]; do [ "$1" = --out ] && echo \'{result}\' >"$2/result.json"; shift; done'


def test_it_is_what_the_probe_measured_and_is_measured_once(probe: Callable[[str], None]) -> None:
    probe(says("tsc"))
    assert tsc.khz() == 2_596_000
    probe("exit 1")
    assert tsc.khz() == 2_596_000


@pytest.mark.parametrize(
    "script", [says("monotonic_raw"), "exit 1"], ids=["another clock was read", "the probe failed"]
)
def test_where_no_tsc_was_measured_kernels_are_told_none(script: str, probe: Callable[[str], None]) -> None:
    probe(script)
    assert tsc.khz() is None


def test_without_a_compiler_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str, arch: str) -> Built:
        raise BuildError("no compiler")

    monkeypatch.setattr(tsc, "native_arch", lambda: "x86_64")
    monkeypatch.setattr(tsc, "build_probe", none)
    assert tsc.khz() is None


def test_on_another_architecture_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsc, "native_arch", lambda: "aarch64")
    monkeypatch.setattr(tsc, "build_probe", lambda name, arch: pytest.fail("a probe was asked for"))
    assert tsc.khz() is None


def test_the_real_probe_says_what_is_looked_for(tmp_path: Path) -> None:
    try:
        program = build_probe("gap", native_arch()).path
    except BuildError as error:
        pytest.skip(f"no probe here: {error}")
    subprocess.run([str(program), "--duration", "1000000ns", "--out", str(tmp_path)], check=True, capture_output=True)
    clock = json.loads((tmp_path / "result.json").read_bytes())["clock"]
    assert {"source", "frequency_hz"} <= set(clock)
    if clock["source"] == "tsc":
        assert tsc.khz() is not None
