# SPDX-License-Identifier: Apache-2.0
"""What a boot method is: from what is to be booted and what the target says of itself to what has to be done.

What is done on the target is only said (``arm``, ``go``); what has to be done on the controller a method does itself
(``here``, ``leave``, ``clean_up``), and most have nothing to do there.

The default entry of a boot loader is never changed: what a method arms is booted once. So a kernel that panics (it has
``panic=10``), or that is switched off because it hangs, is followed by what the machine boots by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...config.inventory import Target
from ...errors import TargetUnfit

if TYPE_CHECKING:
    from ..hands import Hands
    from ..kernels import Bundle

#: What the agent reads and does: see harness/agent/kernels.py.
State = Mapping[str, Any]
Step = dict[str, Any]


@dataclass(frozen=True)
class Bootable:
    """A kernel that lies on the target, and the command line that it is to get. Paths are the target's.

    ``bundle`` is the same kernel here, where it is one of ours. ``dtb`` is, of the device trees that came with it, the
    one for this machine: empty if none is, None where it has no device tree. ``own_trees``: they were asked for.
    """

    kernel: str
    boot: str
    release: str
    image: str
    initrd: str | None
    cmdline: str
    dtb: str | None = None
    own_trees: bool = False
    build: str | None = None  # of ours
    bundle: Bundle | None = None


@dataclass(frozen=True)
class Method:
    """``tools`` it uses on the target, and ``reads``: files there whose text :meth:`arm` wants.

    ``serves``: what is booted comes from the controller, each time again until :meth:`here` is told of the default.
    ``trees``: it can hand on a device tree.
    """

    name: str = ""
    tools: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    serves: bool = False
    trees: bool = False

    def arm(self, what: Bootable, state: State) -> list[Step]:  # noqa: ARG002 - what most methods need
        """What to do on the target so that ``what`` is booted next, once. Raises TargetUnfit where it cannot be.

        Nothing, where the controller does it all.
        """
        return []

    def go(self, state: State) -> list[str]:
        """The command that then boots."""
        return reboot(state)

    def here(self, target: Target, what: Bootable | None, release: str) -> None:
        """What the controller does before, on itself; ``what`` is None for what the target boots by itself.

        ``release`` is what will run then. Raises EnvironmentFault, TargetUnfit.
        """

    def leave(self, target: Target, hands: Hands, what: Bootable | None, state: State) -> None:  # noqa: ARG002
        """Send the target into ``what``; returns once it is on its way."""
        hands.leave(reboot(state) if what is None else self.go(state))

    def clean_up(self, target: Target) -> None:
        """Remove what :meth:`here` left for one boot, once that is over."""

    def check(self, state: State) -> None:
        """TargetUnfit unless the target has what this method uses."""
        tools = state.get("tools") or {}
        lacking = [name for name in self.tools if name not in tools]
        if lacking:
            packages = ", ".join(_PACKAGES.get(name, name) for name in lacking)
            raise TargetUnfit(
                f"boot: {self.name} needs {', '.join(lacking)} on the target",
                advice=f"install {packages}, or choose another boot method",
            )

    def check_tree(self, what: Bootable) -> None:
        """TargetUnfit where ``what`` would get another device tree than the one that was asked for."""
        if not what.own_trees or what.dtb is None:
            return
        advice = "leave `dtbs` out: it gets the one that the machine has by itself"
        if not self.trees:
            raise TargetUnfit(f"boot: {self.name} hands on no device tree, and {what.kernel} has some", advice=advice)
        if not what.dtb:
            raise TargetUnfit(f"none of the device trees of {what.kernel} is for this machine", advice=advice)


_PACKAGES = {"kexec": "kexec-tools", "grub-reboot": "grub2-common", "bootctl": "systemd-boot"}


def reboot(state: State) -> list[str]:
    """Boots what the machine boots by itself."""
    tools = state.get("tools") or {}
    if "systemctl" in tools:
        return [tools["systemctl"], "reboot"]
    if "reboot" in tools:
        return [tools["reboot"]]
    raise TargetUnfit("no systemctl and no reboot on the target: it cannot be told to boot")
