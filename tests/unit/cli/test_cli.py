# SPDX-License-Identifier: Apache-2.0
"""The command line as a process: exit codes, one line for an error, `--help` that is light, plain text in a pipe."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import COMMANDS

HEAVY = ("pandas", "numpy", "fabric", "paramiko", "pydantic", "yaml", "rich", "jinja2", "pyarrow", "hdrh")


def isolbench(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        # The boards that somebody has up are none of a test's business.
        env={**os.environ, "XDG_CACHE_HOME": str(cwd / "cache"), "XDG_STATE_HOME": str(cwd / "state"), **env},
    )


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['isolbench', '--help']\n"
        "from harness.cli import main\n"
        "try: main()\n"
        f"finally: sys.stderr.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str, tmp_path: Path) -> None:
    done = isolbench(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: isolbench {command}")


def test_the_list_says_the_exit_codes(tmp_path: Path) -> None:
    said = isolbench("--help", cwd=tmp_path).stdout
    assert all(command in said for command in COMMANDS)
    assert all(f"  {code} " in said for code in (2, 1, 3, 4, 5, 0, 70))
    assert "130/143" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("rnu", "quick"), "did you mean 'run'?"),
        (("plan", "quikc"), "did you mean 'quick'?"),
        (("plan", "nowhere.yaml"), "nowhere.yaml"),
        (("plan", "quick", "--target", "locla"), "did you mean 'local'?"),
        (("plan", "quick", "--set", "mode=pined"), "did you mean 'pinned'?"),
        (("plan", "quick", "--set", "mdoe=pinned"), "did you mean 'mode'?"),
        (("plan", "quick", "--set", "duration=5"), "unit"),
        (("plan", "quick", "-i", "none.yaml"), "none.yaml"),
        (("run",), "name a campaign"),
        (("run", "quick", "--execution", "x"), "name a campaign, or an execution"),
        (("run", "--execution", "x", "--set", "load=idle"), "--lane"),
        (("resume", "nothing"), "no execution 'nothing'"),
        (("resume", "../../etc"), "no execution '../../etc'"),
        (("show", "quick@-0"), "quick@-1"),
        (("export", "quick", "-f", "xlsx"), "xlsx"),
        (("doctor", "nobody"), "nobody"),
        (("init", "a b"), "user@host"),
        (("restore", "nobody"), "nobody: no such target"),
    ],
)
def test_a_mistake_is_a_line_and_exit_code_2(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    done = isolbench(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "results").exists()


def test_errors_of_both_files_come_at_once_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("campaign: c\ntargets: [local]\nbenches: [gpa]\nduration: 1\n")
    (tmp_path / "i.yaml").write_text("targets:\n  a: {adress: x}\n")
    done = isolbench("plan", "c.yaml", "-i", "i.yaml", cwd=tmp_path)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line for line in lines if "c.yaml:3:" in line and "did you mean 'gap'?" in line]
    assert [line for line in lines if "c.yaml:4:" in line]
    assert [line for line in lines if "i.yaml:2:" in line and "did you mean 'address'?" in line]


def test_plan_contacts_nothing_and_says_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "i.yaml").write_text("targets:\n  far: {address: 192.0.2.1}\n")
    done = isolbench("plan", "quick", "-i", "i.yaml", "-t", "far", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "unknown until contact" in done.stdout
    assert "18 runs" in done.stdout
    found = json.loads(isolbench("plan", "quick", "-i", "i.yaml", "-t", "far", "--json", cwd=tmp_path).stdout)
    assert found["runs"] == 18
    assert len(found["cells"]) == 6
    assert {(cell["would_run"], cell["reason"]) for cell in found["cells"]} == {("unknown", "unknown until contact")}


def test_a_pipe_gets_no_escape_sequence(tmp_path: Path) -> None:
    done = isolbench("plan", "quick", cwd=tmp_path, TERM="xterm-256color", COLUMNS="40")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr


def test_status_of_nothing(tmp_path: Path) -> None:
    done = isolbench("status", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "no executions in results/\n")


@pytest.mark.parametrize("words", ["plan quick --json", "plan quick", "status"])
@pytest.mark.parametrize("full", [">/dev/full", ">/dev/full 2>/dev/full"])
def test_a_full_disk_behind_the_output_is_a_line(words: str, full: str, tmp_path: Path) -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m harness {words} {full}"],
        cwd=tmp_path, env=buffered, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == ("" if "2>" in full else "isolbench: cannot write the output: No space left on device\n")


def test_an_encoding_without_our_characters_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "µ.yaml").write_text("campaign: c\ntargets: [nöbody]\nbenches: [gap]\nduration: 1s\n")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    for words in (["plan", "µ.yaml"], ["plan", "quick", "-t", "nöbody"], ["status", "µ"]):
        done = isolbench(*words, cwd=tmp_path, **ascii_only)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr


def test_a_bug_is_told_apart(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['isolbench', 'status']\n"
        "from harness.campaign import execution\n"
        "def broken(*_): raise OSError({number}, 'no')\n"
        "execution.executions = broken\n"
        "from harness.cli import main; main()"
    )
    for number, status in ((errno.EBADF, 70), (errno.EMFILE, 3)):
        argv = [sys.executable, "-c", code.format(number=number)]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == status
        assert ("please report" in done.stderr) is (status == 70)
        assert ("Traceback" in done.stderr) is (status == 70)


@pytest.mark.parametrize("words", ["plan quick --json | head -c 10", "plan quick | head -1", "--help | true"])
def test_a_reader_that_leaves_is_no_error(words: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m harness {words}"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.returncode == 0
