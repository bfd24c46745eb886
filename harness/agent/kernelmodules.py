# SPDX-License-Identifier: Apache-2.0
"""Where /lib/modules leads for the kernels of ours: to the modules of one build, of all that there are of a release."""

from __future__ import annotations

import contextlib
import os
from typing import Optional

from . import kernelinitrd, kernelstate
from .kernelinitrd import fault
from .kerneljournal import Journal
from .kernelstate import HOME
from .system import Tree


class Modules:
    """The links of ours in /lib/modules below ``tree``."""

    def __init__(self, tree: Tree, journal: Journal) -> None:
        self._tree = tree
        self._journal = journal

    def check(self, release: str) -> None:
        """Raise AgentError if the modules of that release are somebody else's."""
        path = f"/lib/modules/{release}"
        if self._is_theirs(release):
            raise fault(
                "release-taken",
                f"{path} belongs to another build of {release}, which is installed on the machine",
                "build with another CONFIG_LOCALVERSION; or, if it is this very build: {installed: %s}" % release,
            )

    def use(self, build: str, release: str) -> None:
        """Have /lib/modules lead to the modules of this build of the release: there may be two of one."""
        to = _home(build, release)
        if not self._tree.exists(to) or self._leads_to(release) == to:
            return
        self.check(release)
        path = f"/lib/modules/{release}"
        self._journal.note([{"id": build, "kind": "link", "path": path, "to": to}])
        real = self._tree.path(path)
        os.makedirs(os.path.dirname(real), exist_ok=True)
        aside = f"{real}.isolbench"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        os.symlink(to, aside)
        os.rename(aside, real)

    def use_those_of_what_runs(self) -> None:
        """A kernel that runs loads its own drivers, whatever was to be booted and was not.

        Modules that somebody else has put there meanwhile stay: that hinders nobody from sending the machine home.
        """
        running = (kernelstate.running(self._tree) or "").partition("/")[0]
        entry = next((each for each in kernelstate.installed(self._tree) if each["id"] == running), None)
        release = "" if entry is None else str(entry.get("release"))
        if entry is not None and not self._is_theirs(release):
            self.use(running, release)

    def label(self, folder: str) -> None:
        """Under SELinux whoever loads drivers may load them from files of the type that those in /lib/modules have."""
        if self._tree.exists("/sys/fs/selinux/enforce"):
            chcon = kernelstate.tool(self._tree, "chcon")
            if chcon is None:
                raise fault("no-tool", "chcon is not installed on the target, and its SELinux wants modules labelled")
            paths = (self._tree.path("/lib/modules"), self._tree.path(folder))
            kernelinitrd.run(
                self._tree, [chcon, "-R", f"--reference={paths[0]}", paths[1]], "the labels of the modules"
            )

    def _is_theirs(self, release: str) -> bool:
        return os.path.lexists(self._tree.path(f"/lib/modules/{release}")) and self._leads_to(release) is None

    def _leads_to(self, release: str) -> Optional[str]:
        """Where a link of ours leads; None: there is none, or what is there is somebody else's."""
        real = self._tree.path(f"/lib/modules/{release}")
        to = os.readlink(real) if os.path.islink(real) else ""
        return to if to.startswith(f"{HOME}/") else None


def _home(build: str, release: str) -> str:
    return f"{HOME}/{build}/modules/{release}"
