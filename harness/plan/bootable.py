# SPDX-License-Identifier: Apache-2.0
"""Whether what a campaign wants booted is known, and can be booted where it wants it. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

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
        campaign.problem(("axes", "kernel", index), f"{name!r} and {other!r} are one kernel under two names")
        for index, name in enumerate(campaign.axes.kernels)
        for other in campaign.axes.kernels[:index]
        if name in kernels and other in kernels and _one(kernels[name], kernels[other])
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
    for name in dict.fromkeys(cell.kernel for cell in cells):
        # one target that can have it is enough: on the others its cells are unsupported
        asked = dict.fromkeys(cell.target for cell in cells if cell.kernel == name)
        whys = {each: lacks(kernels[name], inventory.targets[each].arch) for each in asked}
        if None not in whys.values():
            for each, why in whys.items():
                wrong.setdefault(str(why), []).append(each)
    if wrong:
        raise PlanError("\n".join(f"{_named(names)}: {what}" for what, names in wrong.items()))


def lacks(kernel: Kernel, arch: str | None, facts: Mapping[str, Any] | None = None) -> str | None:
    """Why a machine of ``arch`` cannot boot ``kernel``; None if it can, as far as its ``facts`` let it be known."""
    if arch is None:
        return None
    artefact = kernel.artefact(arch)
    if artefact is None:
        return f"kernel {kernel.name!r} has nothing for {arch} (only for {', '.join(sorted(kernel.artefacts))})"
    releases = ((facts or {}).get("kernels") or {}).get("installed")
    if not artefact.installed or releases is None:
        return None
    found = matching(artefact.installed, releases)
    if len(found) == 1:
        return None
    if found:
        return f"kernel {kernel.name!r}: {artefact.installed} is {', '.join(found)} there: which of them is not said"
    there = ", ".join(map(str, releases)) or "none"
    return f"kernel {kernel.name!r}: {artefact.installed} is not installed there (found: {there})"


def matching(pattern: str, releases: Iterable[object]) -> list[str]:
    """The ``releases`` that ``installed: PATTERN`` may mean; a release means itself alone."""
    listed = [str(each) for each in releases]
    return [pattern] if pattern in listed else [each for each in listed if fnmatchcase(each, pattern)]


def _one(first: Kernel, second: Kernel) -> bool:
    """Whether they are the same on some architecture."""
    archs = {*first.artefacts, *second.artefacts}
    return any((one := _files(first, arch)) is not None and one == _files(second, arch) for arch in archs)


def _files(kernel: Kernel, arch: str) -> dict[str, str] | None:
    """What a kernel is made of."""
    artefact = kernel.artefact(arch)
    if artefact is None:
        return None
    said = {key: str(value) for key, value in artefact if value is not None}
    return {key: value if key == "installed" else posixpath.normpath(value) for key, value in said.items()}


def _named(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed if len(listed) <= 5 else [*listed[:4], f"… {listed[-1]} ({len(listed)} targets)"])
