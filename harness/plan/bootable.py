# SPDX-License-Identifier: Apache-2.0
"""Whether what a campaign wants booted is known, and can be booted where it wants it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..config.campaign import Campaign
from ..config.inventory import Inventory
from ..config.kernels import Artefact, BootProfile, Kernel
from ..config.yaml import suggest
from ..errors import PlanError
from .cells import Cell


def check_boots(
    campaign: Campaign, kernels: Mapping[str, Kernel], boots: Mapping[str, BootProfile], given: Mapping[str, Artefact]
) -> None:
    """PlanError unless every kernel and boot profile of ``campaign`` is known, and every ``given`` kernel is used."""
    problems = [
        campaign.problem(("axes", axis, index), f"no {what} in the inventory is called {name!r}{suggest(name, known)}")
        for axis, what, names, known in (
            ("kernel", "kernel", campaign.axes.kernels, sorted(kernels)),
            ("boot", "boot profile", campaign.axes.profiles, sorted(boots)),
        )
        for index, name in enumerate(names)
        if name not in known
    ]
    problems += [
        f"--kernel {name}=…: the campaign has no kernel {name!r}{suggest(name, campaign.axes.kernels)}"
        for name in given
        if name not in campaign.axes.kernels
    ]
    if problems:
        raise PlanError("\n".join(problems))


def check_bootable(
    campaign: Campaign, cells: Sequence[Cell], inventory: Inventory, kernels: Mapping[str, Kernel]
) -> None:
    """PlanError unless every target can be booted as ``cells`` want it, as far as the inventory tells."""
    if not campaign.axes.boots:
        return
    wrong: dict[str, list[str]] = {}
    for name in dict.fromkeys(cell.target for cell in cells):
        target = inventory.targets[name]
        if target.local:
            wrong.setdefault("this machine steers the campaign: it is not booted", []).append(name)
            continue
        if target.boot is None:
            wrong.setdefault("the inventory does not say how to boot it (boot: kexec, grub-once, …)", []).append(name)
        for boot in dict.fromkeys(cell.boot for cell in cells if cell.target == name):
            if inventory.boots[boot].needs_isolated and target.isolated == "auto":
                what = f"boot profile {boot!r} wants {{isolated}}, and isolated is no list (isolated: 2-3)"
                wrong.setdefault(what, []).append(name)
        for kernel in dict.fromkeys(cell.kernel for cell in cells if cell.target == name):
            if target.arch is not None and kernels[kernel].artefact(target.arch) is None:
                has = ", ".join(sorted(kernels[kernel].artefacts))
                wrong.setdefault(f"kernel {kernel!r} has nothing for {target.arch} (only for {has})", []).append(name)
    if wrong:
        raise PlanError("\n".join(f"{_named(names)}: {what}" for what, names in wrong.items()))


def _named(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed if len(listed) <= 5 else [*listed[:4], f"… {listed[-1]} ({len(listed)} targets)"])
