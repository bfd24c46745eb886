# SPDX-License-Identifier: Apache-2.0
"""``kexec``: the running kernel starts the next one, without firmware and boot loader. Fast, and nothing is left."""

from __future__ import annotations

from .base import Bootable, Method, State, Step


class Kexec(Method):
    def arm(self, what: Bootable, state: State) -> list[Step]:  # noqa: ARG002 - it needs no more
        argv = ["kexec", "-l", what.image, f"--command-line={what.cmdline}"]
        if what.initrd is not None:
            argv.append(f"--initrd={what.initrd}")
        if what.own_trees and what.dtb:  # else it gets the one that runs, as firmware completed it
            argv.append(f"--dtb={what.dtb}")
        return [{"arm": "kexec", "run": argv}]

    def go(self, state: State) -> list[str]:
        """By systemd where it runs: file systems are then unmounted first."""
        tools = state.get("tools") or {}
        return [tools["systemctl"], "kexec"] if "systemctl" in tools else [tools["kexec"], "-e"]


METHOD = Kexec("kexec", tools=("kexec",), trees=True)
