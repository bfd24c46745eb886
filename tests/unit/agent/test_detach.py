# SPDX-License-Identifier: Apache-2.0
"""What systemd may execute under SELinux, on an invented machine; whatever labels a file has here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.agent import detach
from harness.agent.detach import init_may_execute
from harness.agent.paths import Paths
from harness.agent.system import AgentError, Tree


def machine(root: Path, enforce: str | None, label: str | None) -> Tree:
    program = root / "usr/bin/python3.11"
    program.parent.mkdir(parents=True)
    program.write_text("")
    (program.parent / "python3").symlink_to("python3.11")
    if enforce is not None:
        (root / "sys/fs/selinux").mkdir(parents=True)
        (root / "sys/fs/selinux/enforce").write_text(enforce)
    if label is not None:
        try:
            os.setxattr(program, "security.selinux", f"system_u:object_r:{label}:s0\0".encode())
        except OSError as error:
            pytest.skip(f"labels cannot be set here: {error.strerror}")
    return Tree(str(root))


@pytest.mark.parametrize(
    ("enforce", "label", "may"),
    [
        (None, None, True),  # no SELinux
        ("0", "user_home_t", True),  # permissive
        ("1", "bin_t", True),
        ("1", "usr_t", True),
        ("1", "python_exec_t", True),
        ("1", "user_home_t", False),
        ("1", "admin_home_t", False),
        ("1", "cache_home_t", False),
        ("1", "var_lib_t", False),
        ("1", "unlabeled_t", False),
        ("1", None, False),
    ],
)
def test_what_systemd_may_execute(enforce: str | None, label: str | None, may: bool, tmp_path: Path) -> None:
    assert init_may_execute(machine(tmp_path, enforce, label), "/usr/bin/python3") is may


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    assert not init_may_execute(machine(tmp_path, "1", None), "/nowhere")


@pytest.mark.parametrize(("log", "fault", "kind"), [("", "infrastructure", "slow"), ("SyntaxError", "bug", "start")])
def test_an_agent_that_says_nothing_is_slow_and_one_that_complains_is_broken(
    log: str, fault: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is slow, as a board is that boots beside others, is worth another try."""
    monkeypatch.setattr(detach, "init_may_execute", lambda *_: False)
    monkeypatch.setattr(detach, "_answers", lambda *_: False)
    monkeypatch.setattr(detach, "_by_double_fork", lambda _argv, _env, path: Path(path).write_text(log))
    state = str(tmp_path)
    with pytest.raises(AgentError) as caught:
        detach.start(Paths(deploy=state, state=state, runtime=state), 60.0)
    assert (caught.value.fault, caught.value.kind) == (fault, kind)
