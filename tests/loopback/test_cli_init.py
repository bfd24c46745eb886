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

from .campaign_kit import no_agent, own_namespaces, wait_for
from .conftest import OTHER_MACHINE, ROOT, Server, free_port, serial_number
from .test_transport_login import RELAY


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
    assert "advice: name the private key by --identity FILE; " in done.stderr
    assert not (tmp_path / "lab.yaml").exists()
    done = isolbench(*words, "--identity", str(user_key), "--json", cwd=tmp_path)  # the name is not taken
    assert done.returncode == 0, done.stdout + done.stderr
    assert load_inventory(tmp_path / "lab.yaml").targets["box"].host_key == sshd.host_key
    told = json.loads(done.stdout)
    assert list(told) == ["target", "inventory", "host_key", "written", "findings"]
    assert (told["target"], told["inventory"], told["written"]) == ("box", "lab.yaml", True)
    assert told["host_key"]["fingerprint"] == fingerprint(sshd.host_key)
    again = isolbench(*words[:2], "--name", "again", *words[4:], cwd=tmp_path)
    assert (again.returncode, "box is this machine already" in again.stderr) == (2, True), again.stderr
    assert ("ok", "reached") in {(each["level"], each["topic"]) for each in told["findings"]}


def test_a_reinstalled_machine_is_pinned_anew(
    sshd: Server, user_key: Path, tmp_path: Path, keygen: Callable[..., str]
) -> None:
    old = keygen(tmp_path / "old")
    inventory = tmp_path / "lab.yaml"
    who = f"user: {pwd.getpwuid(os.getuid()).pw_name}, port: {sshd.port}, identity: {user_key}"
    inventory.write_text(f'targets:\n  box: {{address: 127.0.0.1, {who}, host_key: "{old}"}}\n')
    done = isolbench("doctor", "box", "--facts", "-i", "lab.yaml", cwd=tmp_path)
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


@pytest.mark.skipif(not ROOT, reason="a server with a mount namespace of its own needs root")
def test_a_board_is_pinned_by_its_serial_number(
    start_sshd: Callable[..., Server], user_key: Path, tmp_path: Path, own_machine: None
) -> None:
    inventory = tmp_path / "lab.yaml"
    board = start_sshd(mounts=serial_number('0012 "a #'))
    address, key = f"root@127.0.0.1:{board.port}", str(user_key)
    done = isolbench("init", address, "--name", "box", "--identity", key, "--yes", "-i", "lab.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert load_inventory(inventory).targets["box"].serial == '0012 "a #'
    wait_for(no_agent, "the agent of the first board ends")
    swapped = start_sshd(mounts=serial_number("0013"))
    inventory.write_text(inventory.read_text().replace(str(board.port), str(swapped.port)))
    done = isolbench("init", "--repin", "box", "--yes", "-i", "lab.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    box = load_inventory(inventory).targets["box"]
    assert (box.serial, box.host_key) == ("0013", swapped.host_key)
    done = isolbench("doctor", "box", "--facts", "-i", "lab.yaml", "--json", cwd=tmp_path)
    (found,) = (each for each in json.loads(done.stdout)["targets"]["box"] if each["topic"] == "board")
    assert "serial 0013" in found["text"]


@pytest.mark.skipif(not ROOT, reason="machines of our own are namespaces, which needs root")
def test_two_names_of_one_machine_and_a_disk_that_was_copied(
    start_sshd: Callable[..., Server], user_key: Path, tmp_path: Path, own_home: Path
) -> None:
    """As doctor, and plan --contact, see it: three names, two machines, one machine-id."""
    same_id = f"echo {'c' * 32} >$home/id; mount --bind $home/id /etc/machine-id"
    (tmp_path / "relay.py").write_text(RELAY)
    with own_namespaces():
        copy = start_sshd(mounts=[OTHER_MACHINE, same_id])
        relay = f"nsenter -t {copy.process.pid} -n {sys.executable} {tmp_path}/relay.py 127.0.0.1 %p"
        (own_home / ".ssh" / "config").write_text(f"Host copy\n  ProxyCommand {relay}\n")
        with own_namespaces():
            one = start_sshd(mounts=[same_id])
            usual = {"user": "root", "identity": str(user_key)}
            named = {"one": ("127.0.0.1", one), "copy": ("copy", copy), "again": ("127.0.0.1", one)}
            targets = {
                name: {**usual, "address": address, "port": server.port, "host_key": server.host_key}
                for name, (address, server) in named.items()
            }
            (tmp_path / "lab.yaml").write_text(json.dumps({"targets": targets}))
            campaign = {"campaign": "c", "targets": list(targets), "benches": ["gap"], "duration": "1s"}
            (tmp_path / "c.yaml").write_text(json.dumps(campaign))
            doctor = isolbench("doctor", *targets, "--facts", "-i", "lab.yaml", "--json", cwd=tmp_path)
            plan = isolbench("plan", "c.yaml", "-i", "lab.yaml", "--contact", cwd=tmp_path)
            apart = isolbench("plan", "c.yaml", "-i", "lab.yaml", "--contact", "-t", "one", "-t", "copy", cwd=tmp_path)
    found = json.loads(doctor.stdout)["targets"]
    assert list(found) == list(targets)  # in order, whoever answered first
    said = {
        name: [each["text"].partition(" (boot id")[0] for each in found[name] if each["topic"] == "machine"]
        for name in targets
    }
    copied = "one disk is a copy of the other"
    assert [text for text in said["copy"] if copied in text] == [f"its machine-id is that of one: {copied}"]
    assert "the same machine as one" in said["again"]
    assert f"its machine-id is that of copy: {copied}" in said["again"]
    assert not [text for text in said["one"] if "one" in text]
    assert (plan.returncode, "one and again are two names of one machine" in plan.stderr) == (2, True), plan.stderr
    assert apart.returncode == 0, apart.stderr


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
