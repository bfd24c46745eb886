# SPDX-License-Identifier: Apache-2.0
"""What a plan boots on each target: kernels, what profiles change there, sessions and their turns, boots and time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .words import plural

if TYPE_CHECKING:
    from ..campaign.artefacts import Looks
    from ..config.inventory import Target
    from ..plan import Cell, Estimate, Plan
    from ..target.kernels import Look

#: More kernels and boot profiles than this are counted in a turn, not named.
_NAMED = 8
#: Of hashes: as many as kernels are known by on a target.
_DIGITS = 12


def estimate_of(plan: Plan, targets: Mapping[str, Target], cells: Iterable[Cell] | None = None) -> Estimate:
    """The time of ``cells`` (default: all), with boots as long as they were seen to be."""
    from ..campaign.boot_times import expected_s
    from ..plan import estimate

    boot_s = {name: expected_s(targets[name]) for name in plan.targets if plan.boots and name in targets}
    cells = plan.cells if cells is None else cells
    return estimate(cells, plan.repeat, plan.sessions, boots=plan.boots, boot_s=boot_s)


def boots_json(
    plan: Plan, target: Target, facts: Mapping[str, Any] | None, looks: Looks | None = None
) -> dict[str, Any] | None:
    """``None`` of a plan that boots nothing. ``turn`` is an order as it may be: each execution draws its own.

    ``looks``: what lies at the paths of kernels that come from files.
    """
    from ..campaign.boot_times import expected_s

    if not plan.boots:
        return None
    turn, cells = _turn(plan, target.name), plan.cells_of(target.name)
    return {
        "method": None if target.boot is None else target.boot.method,
        "boot_s": round(expected_s(target), 1),
        "sessions": plan.sessions,
        "turn": [{"kernel": kernel, "boot": boot} for kernel, boot in turn],
        "kernels": {name: _kernel(plan, name, target, facts, looks or {}) for name in _asked(cells, "kernel")},
        "sent_anew": _sent_anew(plan, target, facts, _asked(cells, "kernel")),
        "profiles": {name: _changes(plan, name, target, facts) for name in _asked(cells, "boot")},
    }


def _asked(cells: Iterable[Cell], axis: str) -> list[str]:
    return list(dict.fromkeys(getattr(cell, axis) for cell in cells))


def lines(found: Mapping[str, Any] | None) -> tuple[str, ...]:
    """What :func:`boots_json` found, for people."""
    if found is None:
        return ()
    names = [f"{each['kernel']} {each['boot']}" for each in found["turn"]]
    turn = ", ".join(names) if len(names) <= _NAMED else f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
    method = f" by {found['method']}" if found["method"] else ""
    took_s = math.ceil(found["boot_s"] / 10) * 10  # boards that are much alike say the same
    sessions = f"{plural(found['sessions'], 'session')} of each, a boot{method} before each (some {took_s} s)"
    order = f"in turns, such as: {turn}"
    if found["sessions"] > 1:
        order += "; then backwards, and so on"
    said = [f"{sessions}, {order}; at the end back to its own"]
    said += [f"kernel {name}: {what}" for name, what in found["kernels"].items() if what]
    if found["sent_anew"]:
        said.append("more kernels from files than may lie there at once: they are sent anew in turns")
    for name, change in found["profiles"].items():
        parts = [*(f"+{each}" for each in change["added"]), *(f"-{each}" for each in change["removed"])]
        if parts:
            by = "" if change["known"] else " (its own command line is not known yet)"
            said.append(f"boot {name}: {' '.join(parts)}{by}")
    return tuple(said)


def _turn(plan: Plan, target: str) -> list[tuple[str, str]]:
    from ..plan import sessions_of

    found = sessions_of(plan.cells_of(target), plan.repeat, 1, plan.campaign.name, boots=True)
    return [(each.booted.kernel, each.booted.boot) for each in found if each.booted is not None]


def _kernel(plan: Plan, name: str, target: Target, facts: Mapping[str, Any] | None, looks: Looks) -> str:
    """Where it comes from; of a pattern, which release it means there."""
    from ..config.kernels import DEFAULT_KERNEL
    from ..plan import matching

    own = (facts or {}).get("kernel") or {}
    arch = (facts or {}).get("arch") or target.arch
    kernel = plan.kernels.get(name)
    artefact = None if kernel is None else kernel.artefact(arch)
    if name == DEFAULT_KERNEL or artefact is None or artefact.installed == "":
        return str(own.get("release") or "")
    if artefact.installed is None:
        source = artefact.sources[0]
        seen = looks.get(name, {})
        found = seen.get("") or seen.get(str(arch))
        what = "" if found is None else _artefact(found, facts)
        return f"{source} {getattr(artefact, source)}{what}"
    releases = ((facts or {}).get("kernels") or {}).get("installed") or []
    there = matching(artefact.installed, releases)
    if not releases or there == [artefact.installed]:
        return f"installed {artefact.installed}"
    return f"installed {artefact.installed}: {', '.join(there) or 'no such kernel there'}"


def _sent_anew(plan: Plan, target: Target, facts: Mapping[str, Any] | None, names: Iterable[str]) -> bool:
    """Whether there are more kernels of ours than lie on a target at once."""
    from ..target.kernels import MOST

    arch = (facts or {}).get("arch") or target.arch
    found = [plan.kernels[name].artefact(arch) for name in names if name in plan.kernels]
    return sum(each is not None and each.installed is None for each in found) > MOST


def _artefact(found: Look, facts: Mapping[str, Any] | None) -> str:
    """Who it is; whether the target has it."""
    image = found.image
    build = "" if image.build_id is None else f", build id {image.build_id[:_DIGITS]}"
    who = f": {image.release} {image.version}{build}, artefact {found.sha256[:_DIGITS]}"
    ours = ((facts or {}).get("kernels") or {}).get("ours")
    if ours is None:
        return f"{who}, {found.size / 1e6:.0f} MB"
    return f"{who}, {'is there' if found.sha256[:_DIGITS] in ours else f'{found.size / 1e6:.0f} MB to be installed'}"


def _changes(plan: Plan, name: str, target: Target, facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the profile adds and removes; where the machine's own command line is known, of that (``known``)."""
    from ..config.kernels import BUILT_IN_BOOT
    from ..config.units import format_cpu_list
    from ..report.booted import difference
    from ..target.cmdline import with_profile

    profile = plan.profiles.get(name) or BUILT_IN_BOOT
    if target.isolated != "auto":
        profile = profile.for_cpus(format_cpu_list(target.isolated))
    own = ((facts or {}).get("kernel") or {}).get("cmdline")
    if own is None or profile.is_plain:
        return {"added": list(profile.add), "removed": list(profile.remove), "known": own is not None}
    added, removed = difference(with_profile(str(own), profile), str(own))
    return {"added": list(added), "removed": list(removed), "known": True}
