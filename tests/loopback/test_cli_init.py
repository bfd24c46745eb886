# SPDX-License-Identifier: Apache-2.0
"""`init` against a real sshd: what is written, when nothing is, and a machine that was reinstalled."""

from __future__ import annotations

import json
import os
import pty
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.inventory import load_inventory
from harness.target.keys import HostKey

from .conftest import Server, free_port


def isolbench(*words: str, cwd: Path, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cwd / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=cwd, capture_output=True, text=True, timeout=120, stdin=stdin, env=environment,
    )  # fmt: skip


def fingerprint(key: str) -> str:
    return HostKey.parse(key).fingerprint


def test_only_who_lets_us_in_is_written(
    sshd: Server, user_key: Path, tmp_path: Path, keygen: Callable[..., str]
) -> None:
    keygen(tmp_path / "stranger")
    address = f"{pwd.getpwuid(os.getuid()).pw_name}@127.0.0.1:{sshd.port}"
    words = ("init", address, "--name", "box", "--fingerprint", fingerprint(sshd.host_key), "-i", "lab.yaml")
    done = isolbench(*words, "--identity", str(tmp_path / "stranger"), cwd=tmp_path)
    assert done.returncode == 3
    assert "nothing was written" in done.stderr
    assert "login refused" in done.stderr
    assert not (tmp_path / "lab.yaml").exists()
    done = isolbench(*words, "--identity", str(user_key), "--json", cwd=tmp_path)  # the name is not taken
    assert done.returncode == 0, done.stdout + done.stderr
    assert load_inventory(tmp_path / "lab.yaml").targets["box"].host_key == sshd.host_key
    told = json.loads(done.stdout)
    assert list(told) == ["target", "inventory", "host_key", "written", "findings"]
    assert (told["target"], told["inventory"], told["written"]) == ("box", "lab.yaml", True)
    assert told["host_key"]["fingerprint"] == fingerprint(sshd.host_key)
    assert ("ok", "reached") in {(each["level"], each["topic"]) for each in told["findings"]}


def test_a_reinstalled_machine_is_pinned_anew(
    sshd: Server, user_key: Path, tmp_path: Path, keygen: Callable[..., str]
) -> None:
    old = keygen(tmp_path / "old")
    inventory = tmp_path / "lab.yaml"
    who = f"user: {pwd.getpwuid(os.getuid()).pw_name}, port: {sshd.port}, identity: {user_key}"
    inventory.write_text(f'targets:\n  box: {{address: 127.0.0.1, {who}, host_key: "{old}"}}\n')
    done = isolbench("doctor", "box", "-i", "lab.yaml", cwd=tmp_path)
    assert done.returncode == 3
    assert "host key" in done.stdout
    assert "isolbench init --repin box" in done.stdout
    words = ("init", "--repin", "box", "-i", "lab.yaml")
    done = isolbench(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert fingerprint(old) in done.stderr
    assert fingerprint(sshd.host_key) in done.stderr
    assert load_inventory(inventory).targets["box"].host_key == old
    done = isolbench(*words, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert load_inventory(inventory).targets["box"].host_key == sshd.host_key
    done = isolbench(*words, cwd=tmp_path)
    assert (done.returncode, "the same" in done.stderr) == (0, True)


def test_declining_writes_nothing(sshd: Server, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, b"n\n")
    words = ("init", f"somebody@127.0.0.1:{sshd.port}", "-i", "lab.yaml")
    done = isolbench(*words, cwd=tmp_path, stdin=theirs)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert done.stderr.endswith("nothing was written\n")
    assert not (tmp_path / "lab.yaml").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--repin", "box", "--tag", "x"),
        ("lab@box", "--repin", "box"),
        (),
        ("lab@box", "--fingerprint", "TIB256:" + "A" * 43),
        ("lab@box", "--fingerprint", "SHA256:short"),
        ("--repin", "nobody"),
    ],
)
def test_what_makes_no_sense(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("targets: {}\n")
    done = isolbench("init", *words, "-i", "lab.yaml", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_listens(tmp_path: Path) -> None:
    done = isolbench("init", f"lab@127.0.0.1:{free_port()}", "-i", "lab.yaml", cwd=tmp_path)
    assert done.returncode == 3
    assert "Connection refused" in done.stderr
    assert not (tmp_path / "lab.yaml").exists()
