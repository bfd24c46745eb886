# SPDX-License-Identifier: Apache-2.0
"""Completion: what a shell is offered, by its protocol and in real shells; and that a Tab imports nothing heavy."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..report import fake_execution as fake
from .test_cli import HEAVY

FREE = [name for name in HEAVY if name != "yaml"]  # an inventory is read by it
INVENTORY = """defaults: {tags: [lab]}
classes: {pi: {tags: [arm]}}
targets:
  "rpi5-[01-03]": {class: pi, address: "{name}.lan"}
  nuc: {address: nuc.lan, tags: [x86]}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "lab.yaml").write_text(INVENTORY)
    (tmp_path / "night.yaml").write_text("{campaign: night, targets: [local], benches: [gap], duration: 1s}")
    (tmp_path / "own.yaml").write_text("{campaign: own, axes: {load: [idle, {server: [nginx]}]}}")
    (tmp_path / "bench.yaml").write_text("{probe: gap, metrics: {}}")
    for execution in ("20261120T010000Z", "20261121T010000Z"):
        path = tmp_path / "results" / "nightly" / execution
        fake.simple_run(path)
        fake.lane(path, "nuc", fake.FACTS, [])
    (tmp_path / "results" / "a b\x1b").mkdir()
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "isolbench").write_text(
        f'#!/bin/sh\nPYTHONPATH={Path(__file__).parents[3]} exec {sys.executable} -m harness "$@"\n'
    )
    (bin_dir / "isolbench").chmod(0o755)
    return tmp_path


def environment(lab: Path) -> dict[str, str]:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ISOLBENCH", "COMP_"))}
    return {**keep, "PATH": f"{lab / 'bin'}:{os.environ['PATH']}", "TERM": "dumb"}


def offered(lab: Path, line: str) -> list[str]:
    """By click's protocol, as its zsh function speaks it: the words, and which of them is completed."""
    words = line.split(" ")
    env = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_ISOLBENCH_COMPLETE": "zsh_complete"}
    done = subprocess.run(
        ["isolbench"], cwd=lab, env={**environment(lab), **env}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), line
    lines = done.stdout.splitlines()
    return [value for kind, value in zip(lines[::3], lines[1::3], strict=False) if kind == "plain"]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("sta", ["status"]),
        ("plan --ta", ["--target"]),
        ("plan q", ["quick"]),
        ("run ni", ["night.yaml"]),
        ("run be", []),  # a bench file
        ("plan own.yaml --set load=se", ["load=server"]),
        ("plan quick --set tune=kh", []),
        ("plan quick --set tune=thp,ks", ["tune=thp,ksm"]),
        ("init --repin l", []),
        ("trend c --metric ga", ["gap_ns", "gap_rate_hz"]),
        ("resume ", ["nightly"]),
        ("status nightly/", ["nightly/20261121T010000Z", "nightly/20261120T010000Z"]),
        ("run --execution nightly/20261120", ["nightly/20261120T010000Z"]),
        ("show ni", ["nightly"]),
        ("show nightly nuc/", ["nuc/gap.shared.idle-000000000001-r1"]),
        ("show nothing ", []),
        ("doctor rpi5-0", ["rpi5-01", "rpi5-02", "rpi5-03"]),
        ("doctor tag:", ["tag:arm", "tag:lab", "tag:x86"]),
        ("restore ", ["local", "rpi5-01", "rpi5-02", "rpi5-03", "nuc"]),
        ("plan quick -t n", ["nuc"]),
        ("resume nightly --lane ", ["nuc"]),
        ("plan quick -s mode=pinned,f", ["mode=pinned,fifo"]),
        ("plan quick --set ben", ["bench="]),
        ("plan quick --set c", ["cpus=", "control="]),
        ("plan quick --set cpus=", ["cpus=one", "cpus=all"]),
        ("plan quick --set control=t", ["control=true"]),
        ("export nightly -f c", ["csv"]),
        ("schema c", ["campaign"]),
        ("rnu x", []),
    ],
)
def test_what_is_offered(lab: Path, line: str, wanted: list[str]) -> None:
    assert offered(lab, f"isolbench {line}") == wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("plan quick -s kernel=default,n", ["kernel=default,next"]),
        ("plan quick -s boot=", ["boot=plain", "boot=quiet"]),
        ("run quick --kernel n", ["next="]),
        ("run quick -k ", ["rt=", "next="]),
        ("init --virtual a", ["aarch64"]),
    ],
)
def test_what_can_be_booted_is_offered(lab: Path, line: str, wanted: list[str]) -> None:
    path = lab / "inventory" / "lab.yaml"
    path.write_text(
        path.read_text() + "kernels: {rt: {installed: '*-rt'}, next: {image: x}}\nboots: {quiet: {add: a}}\n"
    )
    assert offered(lab, f"isolbench {line}") == wanted


def test_an_inventory_that_is_broken_or_elsewhere(lab: Path) -> None:
    (lab / "other.yaml").write_text("targets: {box: {address: box}}")
    assert offered(lab, "isolbench doctor -i other.yaml b") == ["box"]
    (lab / "inventory" / "lab.yaml").write_text("targets: [")
    assert offered(lab, "isolbench doctor ") == ["local"]


@pytest.mark.parametrize("line", ["sta", "plan q", "status nightly/", "show nightly ", "doctor r", "plan -s mode="])
def test_a_tab_imports_nothing_heavy(lab: Path, line: str) -> None:
    code = (
        "import sys; sys.argv = ['isolbench']\n"
        "from harness.cli import main\n"
        "try: main()\n"
        f"finally: sys.stderr.write(' '.join(m for m in {FREE!r} if m in sys.modules))"
    )
    words = f"isolbench {line}"
    env = {"COMP_LINE": words, "COMP_POINT": str(len(words)), "_ISOLBENCH_COMPLETE": "bash_complete"}
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=lab, env={**environment(lab), **env}, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.startswith("plain,")


def in_bash(lab: Path, line: str) -> list[str]:
    """In a real bash, which has split the line into words at = and : before our function is called."""
    script = (
        'eval "$(_ISOLBENCH_COMPLETE=bash_source isolbench)"\n'
        'complete -p isolbench >&2\ncompopt() { printf "compopt %s\\n" "$*"; }\n'
        'COMP_LINE=$1 COMP_POINT=${#1}\n_isolbench_completion isolbench\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    argv = ["bash", "--norc", "-c", script, "bash", line]
    done = subprocess.run(argv, cwd=lab, env=environment(lab), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == "complete -o nosort -F _isolbench_completion isolbench\n"
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("isolbench sta", ["status"]),
        ("isolbench plan quick --set mode=pi", ["pinned"]),
        ("isolbench plan quick --set mo", ["compopt -o nospace", "mode="]),
        ("isolbench doctor tag:a", ["arm"]),
        ("isolbench show nightly nuc/gap", ["nuc/gap.shared.idle-000000000001-r1"]),
        ("isolbench run ./ni", ["compopt -o default", ""]),
    ],
)
def test_in_bash(lab: Path, line: str, wanted: list[str]) -> None:
    assert in_bash(lab, line) == wanted


def test_a_tab_in_an_interactive_bash(lab: Path) -> None:
    """The whole way once: keys in, completed line out."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"], cwd=lab, env=environment(lab), stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    said = b""

    def until(words: bytes) -> None:
        nonlocal said
        end_s = time.monotonic() + 60
        while words not in said:
            ready, _, _ = select.select([master], [], [], max(0, end_s - time.monotonic()))
            assert ready, said
            said += os.read(master, 65536)

    try:
        os.write(master, b'eval "$(_ISOLBENCH_COMPLETE=bash_source isolbench)"; echo rea""dy\n')
        until(b"ready\r\n")
        os.write(
            master, b"echo isolbench plan quick --set mode=pi\x01\x1bd\x1bf\x05"
        )  # take the echo off, go to the end
        os.write(master, b"\t")
        until(b"mode=pinned")
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("line", "wanted"), [("isolbench sta", "status"), ("isolbench plan quick --set mode=pi", "mode=pinned")]
)
def test_in_fish(lab: Path, line: str, wanted: str) -> None:
    script = f"_ISOLBENCH_COMPLETE=fish_source isolbench | source; complete --do-complete '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], cwd=lab, env={**environment(lab), "HOME": str(lab)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert [offer.split("\t")[0] for offer in done.stdout.splitlines()] == [wanted], done.stderr
