# SPDX-License-Identifier: Apache-2.0
"""The kernels of a plan that come from files here, looked at before any target is asked: a second for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import PlanError, UserError
from ..plan import Plan
from ..target.kernels import Look, look

#: By kernel, then by the architecture that the inventory says it is for (empty: whatever).
Looks = Mapping[str, Mapping[str, Look]]


def look_at(plan: Plan) -> Looks:
    """What lies at the paths. PlanError, with all that is wrong: no file, no kernel, for other machines, one twice."""
    found: dict[str, dict[str, Look]] = {}
    wrong: list[str] = []
    for name, kernel in plan.kernels.items():
        for arch, artefact in kernel.artefacts.items():
            if artefact.installed is not None or not _machines(plan, name, arch):
                continue
            try:
                seen = look(name, artefact, arch or None)
            except UserError as error:
                wrong.append(str(error))
                continue
            found.setdefault(name, {})[arch] = seen
            others = sorted(_machines(plan, name, arch) - {arch, "", seen.image.arch})
            if not arch and others and (seen.image.arch, others) != ("i686", ["x86_64"]):
                source = getattr(artefact, artefact.sources[0])
                wrong.append(f"kernel {name}: {source}: a kernel for {seen.image.arch}, not for {', '.join(others)}")
    names = list(found)
    for at, name in enumerate(names):
        for other in names[:at]:
            same = {each.sha256 for each in found[name].values()} & {each.sha256 for each in found[other].values()}
            if same:
                wrong.append(f"kernels {other} and {name} are one under two names: their files are the same")
    if wrong:
        raise PlanError("\n".join(wrong))
    return found


def pinned(plan: Plan, looks: Looks) -> Plan:
    """``plan`` with the hashes of what was seen: an execution boots these files, and none that take their place."""
    return replace(plan, hashes={name: {arch: each.sha256 for arch, each in by.items()} for name, by in looks.items()})


def _machines(plan: Plan, kernel: str, arch: str) -> set[str]:
    """The architectures of the targets that get ``kernel`` by what is said for ``arch``; empty: not known yet."""
    targets = {cell.target for cell in plan.cells if cell.kernel == kernel}
    archs = {str(plan.inventory[each].get("arch") or "") for each in targets}
    return archs if not arch else {each for each in archs if each in ("", arch)}
