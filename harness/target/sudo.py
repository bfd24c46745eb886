# SPDX-License-Identifier: Apache-2.0
"""Becoming root on a target: how sudo is called, and what helps where it refuses. Pure."""

from __future__ import annotations

import re
import shlex

from ..errors import TargetUnfit

#: All that sudo is asked for is this one program, so that one rule is enough. It executes what follows.
SUDO = ("sudo", "-n", "-H", "--", "/bin/sh", "-c", 'exec "$@"', "isolbench")
#: What sudoers(5) gives a meaning in names.
_SPECIAL = re.compile(r"[\\,:=!() ]")
_BROKEN = ("setuid", "effective uid", "no new privileges", "no_new_privs")
_FILE = "/etc/sudoers.d/isolbench"


class SudoRefused(TargetUnfit):
    """The inventory says ``become: sudo``, and sudo does not let us."""


def sudo_problem(refused: str, user: str) -> tuple[str, str]:
    """``refused``, as the first contact's script says it, in words, and what would help ``user``: the lines to add.

    A rule for /bin/sh is one for everything: who sets a machine's knobs is its root, and the rule does not hide it.
    """
    word, _, said = refused.partition(": ")
    name = _SPECIAL.sub(r"\\\g<0>", user)
    rule = f"{name} ALL=(root) NOPASSWD: /bin/sh"
    if word.startswith("absent"):
        doas = ", and of doas isolbench knows nothing" if "doas" in word else ""
        return (
            f"sudo is not installed{doas}",
            f"install sudo with this in {_FILE}: {rule}; or log in as root (user: root)",
        )
    if any(each in said for each in _BROKEN):
        return f"sudo does not work there ({said})", "log in as root (user: root), or measure without (become: none)"
    if "must have a tty" in said:
        lines = " ".join(map(shlex.quote, (f"Defaults:{name} !requiretty", rule)))
        return f"sudo wants a terminal ({said})", f"as root: printf '%s\\n' {lines} >{_FILE}"
    problem = "sudo asks for a password" if "password" in said or "authentication" in said else "sudo refuses"
    return f"{problem} ({said})", f"as root: echo {shlex.quote(rule)} >{_FILE}"
