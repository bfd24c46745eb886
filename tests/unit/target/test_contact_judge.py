# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
from pathlib import Path

import pytest

import harness.agent
from harness.errors import StorageFull, TargetUnfit
from harness.target.contact import MODULES, judge, parse
from harness.target.sudo import SudoRefused

GOOD = {
    "uid": ["1000"],
    "user": ["lab"],
    "home": ["/home/lab"],
    "arch": ["aarch64"],
    "kernel": ["6.1.0"],
    "date": ["1795156951"],
    "python": ["good\t3.11.2\t\t/usr/bin/python3"],
    "root": ["/home/lab/.cache/isolbench"],
    "free": ["1000000"],
}


def test_a_good_machine() -> None:
    found = judge("auto", GOOD)
    assert (found.arch, found.uid, found.user, found.python) == ("aarch64", 1000, "lab", "/usr/bin/python3")
    assert (found.python_version, found.free_kb, found.date_s) == ((3, 11, 2), 1000000, 1795156951)
    assert (found.sudo, found.argv_prefix, found.notes) == (False, (), ())


def test_sudo_that_worked() -> None:
    found = judge("auto", {**GOOD, "uid": ["0"], "user": ["root"], "sudo": ["lab"]})
    assert (found.uid, found.user, found.sudo) == (0, "lab", True)
    assert found.argv_prefix[0] == "sudo"


def test_the_good_python_is_taken_whatever_came_before() -> None:
    tried = ["bad\t3.6.8\t\t/usr/bin/python3", "good\t3.12.0\t\t/opt/bin/python3.12"]
    found = judge("auto", {**GOOD, "python": tried, "broken": ["/usr/local/bin/python3\tno libc"]})
    assert (found.python, found.python_version) == ("/opt/bin/python3.12", (3, 12, 0))


def test_every_python_that_will_not_do_is_named_with_its_reason() -> None:
    tried = ["bad\t3.7.3\t\t/usr/bin/python3", "bad\t3.10.1\tjson,select\t/usr/bin/python3.10"]
    with pytest.raises(TargetUnfit) as caught:
        judge("auto", {**GOOD, "python": tried, "broken": ["/opt/python3\tno libc"]})
    assert str(caught.value) == (
        "no Python that will do: /usr/bin/python3 is 3.7.3; "
        "/usr/bin/python3.10 (3.10.1) lacks json, select "
        "(OpenEmbedded: python3-core, python3-json; Debian: python3, not python3-minimal); "
        "/opt/python3 does not start: no libc"
    )


def test_no_place_and_full_are_told_apart() -> None:
    tried = ["/home/lab/.cache/isolbench\tcannot be made: Permission denied", "/tmp/isolbench-1000\tfull: 3 KiB free"]
    without = {key: value for key, value in GOOD.items() if key != "root"}
    with pytest.raises(TargetUnfit, match=r"/home/lab/.cache/isolbench: cannot be made: Permission denied$"):
        judge("auto", {**without, "tried": tried[:1]})
    with pytest.raises(StorageFull, match=r"/tmp/isolbench-1000: full: 3 KiB free$") as caught:
        judge("auto", {**without, "tried": tried})
    assert "/tmp/isolbench-1000" in str(caught.value.advice)


def test_noise_around_the_answer() -> None:
    output = "motd\nuid\t7\nisolbench-contact-begin\nuid\t0\nnonsense\npython\ta\tb\nisolbench-contact-end\nuid\t9\n"
    assert parse(output) == {"uid": ["0"], "python": ["a\tb"]}


@pytest.mark.parametrize("output", ["", "isolbench-contact-begin\nuid\t0\n", "isolbench-contact-end\n"])
def test_half_an_answer_is_none(output: str) -> None:
    assert parse(output) is None


def test_all_that_the_agent_imports_is_asked_for() -> None:
    imported: set[str] = set()
    for path in Path(harness.agent.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).partition(".")[0])
    assert imported - {"__future__"} == set(MODULES)
    assert {"python3-core", "python3-json", "python3-crypt", "python3-io"} == set(MODULES.values())


RULE = "lab ALL=(root) NOPASSWD: /bin/sh"


@pytest.mark.parametrize(
    ("said", "problem", "remedy"),
    [
        ("refused: sudo: a password is required", "asks for a password", f"echo '{RULE}' >/etc/sudoers.d/isolbench"),
        ("refused: sudo: interactive authentication is required", "asks for a password", RULE),  # sudo-rs
        ("refused: Sorry, user lab may not run sudo on box.", "sudo refuses (Sorry, user lab", RULE),
        (
            "refused: sudo: sorry, you must have a tty to run sudo",
            "wants a terminal",
            f"printf '%s\\n' 'Defaults:lab !requiretty' '{RULE}' >/etc/sudoers.d/isolbench",
        ),
        ("refused: sudo: effective uid is not 0, is sudo on a nosuid file system?", "does not work", "user: root"),
        ('refused: sudo: The "no new privileges" flag is set', "does not work", "become: none"),
        ("absent", "sudo is not installed", "install sudo"),
        ("absent (doas is there)", "sudo is not installed, and of doas isolbench knows nothing", "user: root"),
    ],
)
def test_what_sudo_says_and_the_line_that_helps(said: str, problem: str, remedy: str) -> None:
    with pytest.raises(SudoRefused) as caught:
        judge("sudo", {**GOOD, "nosudo": [said]})
    assert problem in str(caught.value)
    assert remedy in str(caught.value.advice)
    assert caught.value.exit_code == 3
    (note,) = judge("auto", {**GOOD, "nosudo": [said]}).notes  # not asked for: told, and measured without
    assert problem in note
    assert remedy in note


def test_a_name_with_a_meaning_in_sudoers_is_escaped() -> None:
    with pytest.raises(SudoRefused) as caught:
        judge("sudo", {**GOOD, "user": ["LAB\\jo e"], "nosudo": ["refused: sudo: a password is required"]})
    assert "echo 'LAB\\\\jo\\ e ALL=(root) NOPASSWD: /bin/sh' >" in str(caught.value.advice)
