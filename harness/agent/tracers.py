# SPDX-License-Identifier: Apache-2.0
"""Who else traces this machine: processes with perf events or BPF programs on the kernel's code.

The kernel lists neither; a descriptor is what holds them, so processes' descriptors are looked through. A program that
was pinned into a file system has none, and is not seen. The watchdog's own event is the kernel's, and has none either.
"""

from __future__ import annotations

import os
import time
from typing import Mapping

from .processes import MARKER, carries, pids, read_stat
from .system import Tree

#: Machines with very many descriptors are not looked through to the end: then nothing is known.
_LOOK_S = 0.25
_PERF_EVENT = "anon_inode:[perf_event]"
_BPF_LINK = "anon_inode:bpf_link"
#: Of kernels before 5.8, where a link to a tracepoint was a kind of file of its own.
_BPF_FILES = {"anon_inode:bpf-raw-tracepoint": "raw_tracepoint", "anon_inode:bpf-tracing-prog": "tracing"}
_TRACING_LINKS = frozenset({"raw_tracepoint", "perf_event", "kprobe_multi", "uprobe_multi"})
#: Of a link of type "tracing" those that run with the kernel's functions (BPF_TRACE_RAW_TP .. BPF_MODIFY_RETURN); the
#: others are security modules' (systemd has some) and iterators.
_ATTACH_TYPES = frozenset({"23", "24", "25", "26"})


def tracers(tree: Tree, own: int) -> dict[str, list[str]] | None:
    """``{"name (pid)": what it holds}`` of all but process ``own``, its descendants and what carries its mark.

    As far as we may look: without privilege that is our own processes. None where there is too much to look at.
    """
    end_s = time.monotonic() + _LOOK_S
    found = {}
    for pid in pids(tree):
        if time.monotonic() > end_s:
            return None
        held = _held_by(tree, pid)
        if held and not _ours(tree, pid, own):
            found[f"{tree.read(f'/proc/{pid}/comm')} ({pid})"] = held
    return found


def _held_by(tree: Tree, pid: int) -> list[str]:
    counts: dict[str, int] = {}
    folder = f"/proc/{pid}/fd"
    for fd in tree.names(folder):
        try:
            link = os.readlink(tree.path(f"{folder}/{fd}"))
        except OSError:
            continue
        what = _meaning(tree, f"/proc/{pid}/fdinfo/{fd}", link)
        if what:
            counts[what] = counts.get(what, 0) + 1
    return [f"{count} {what if count == 1 else _several(what)}" for what, count in sorted(counts.items())]


def _meaning(tree: Tree, info: str, link: str) -> str | None:
    """What a descriptor says of tracing; None: nothing."""
    if link == _PERF_EVENT:
        return "perf event"
    kind = _BPF_FILES.get(link)
    if link == _BPF_LINK:
        facts = _facts(tree.read(info) or "")
        kind = facts.get("link_type", "")
        if kind not in _TRACING_LINKS and not (kind == "tracing" and facts.get("attach_type") in _ATTACH_TYPES):
            return None
    return f"BPF program of type {kind}" if kind else None


def _several(what: str) -> str:
    noun, of, kind = what.partition(" of ")
    return f"{noun}s{of}{kind}"


def _facts(text: str) -> Mapping[str, str]:
    pairs = (line.partition(":") for line in text.split("\n"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _ours(tree: Tree, pid: int, own: int) -> bool:
    seen: set[int] = set()
    at = pid
    while at > 1 and at not in seen:
        if at == own:
            return True
        seen.add(at)
        stat = read_stat(tree, at)
        at = 0 if stat is None else stat.parent
    mark = os.environ.get(MARKER)
    return bool(mark) and carries(tree, pid, MARKER, mark or "")
