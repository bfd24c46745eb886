# SPDX-License-Identifier: Apache-2.0
"""Control groups: which version is here, and where ours are. Reads only."""

from __future__ import annotations

from typing import Any

from .system import Tree, parse_cpus

ROOT = "/sys/fs/cgroup"
#: The partition's: a child of the root, which alone is a partition root on every kernel. systemd leaves alone what it
#: did not make; a cgroup of the agent's own service would do on kernels from 6.7 only.
PARTITION = f"{ROOT}/isolbench"


def gather(tree: Tree) -> dict[str, Any]:
    """For the facts: ``{version, controllers, root, isolated}``, the last two of version 2 alone.

    ``root``: this is the machine's root cgroup and not a container's. ``isolated``: the CPUs that boot parameters and
    partitions isolate, as the kernel lists them; None where it keeps no such list (before 6.8).
    """
    unified = tree.read(f"{ROOT}/cgroup.controllers")
    if unified is not None:
        isolated = tree.read(f"{ROOT}/cpuset.cpus.isolated")
        return {
            "version": 2,
            "controllers": sorted(unified.split()),
            "root": not tree.exists(f"{ROOT}/cgroup.type"),
            "isolated": None if isolated is None else parse_cpus(isolated),
        }
    legacy = [
        line.split()[0]
        for line in (tree.read("/proc/cgroups") or "").split("\n")
        if line and not line.startswith("#") and line.split()[1:2] != ["0"]
    ]
    return {"version": 1 if legacy else None, "controllers": sorted(legacy)}


def own(tree: Tree) -> str:
    """The folder of our own cgroup in the hierarchy of version 2; the root's where that is not known."""
    for line in (tree.read("/proc/self/cgroup") or "").split("\n"):
        if line.startswith("0::/"):
            return f"{ROOT}{line[3:]}".rstrip("/")
    return ROOT
