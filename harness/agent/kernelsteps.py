# SPDX-License-Identifier: Apache-2.0
"""What a boot method wants done on this machine, step by step, each written down before it is done::

    {"write": path, "text", "once"}        {"copy": path, "to", "id"}       {"block": path, "text"}
    {"arm": "grub", "path", "name", "run": argv}   {"run": argv}            {"modules": build, "release"}

``once``: it is there for the next boot alone. What is armed, and by whom it can be taken back: see kernelarmed.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Dict, List

from . import kernelarmed, kernelinitrd, kernelstate
from .kernelinitrd import fault
from .system import AgentError, write_durably

if TYPE_CHECKING:
    from .kernels import Kernels

Step = Dict[str, Any]


def carry_out(kernels: Kernels, steps: List[Step]) -> None:
    """All of ``steps``, in their order. Where one fails nothing is armed, and what runs has its modules."""
    for step in steps:
        _check_free(kernels, step)
    try:
        for step in steps:
            _carry_out(kernels, step)
    except (AgentError, OSError):
        with contextlib.suppress(AgentError, OSError):
            kernels.forget_next_boot()
        raise


def _carry_out(kernels: Kernels, step: Step) -> None:
    tree, journal = kernels.tree, kernels.journal
    if "arm" in step:
        journal.note([kernelarmed.entry(tree, step)])
        _run(kernels, step)
    elif "run" in step:
        _run(kernels, step)
    elif "block" in step:
        journal.note([{"id": None, "kind": "block", "path": step["block"]}])
        journal.set_block(str(step["block"]), str(step["text"]))
    elif "write" in step:
        journal.note([_entry(step)])
        real = tree.path(str(step["write"]))
        os.makedirs(os.path.dirname(real), exist_ok=True)
        write_durably(real, str(step["text"]).encode())
    elif "copy" in step:
        kernels.check_space_for(str(step["copy"]), os.path.dirname(str(step["to"])))
        journal.note([_entry(step)])
        kernelinitrd.copy(tree, str(step["copy"]), str(step["to"]))
    elif "modules" in step:
        kernels.modules.use(str(step["modules"]), str(step["release"]))
    else:
        raise AgentError("bug", "usage", f"no step: {sorted(step)}")


def _run(kernels: Kernels, step: Step) -> None:
    argv = [str(word) for word in step["run"]]
    path = argv[0] if argv[0].startswith("/") else kernelstate.tool(kernels.tree, argv[0])
    if path is None:
        raise fault("no-tool", f"{argv[0]} is not installed on the target", f"install {argv[0]}")
    kernelinitrd.run(kernels.tree, [path, *argv[1:]], argv[0])


def _entry(step: Step) -> Dict[str, Any]:
    entry = {"id": step.get("id"), "kind": "file", "path": step.get("write") or step["to"]}
    return {**entry, "once": True} if step.get("once") else entry


def _check_free(kernels: Kernels, step: Step) -> None:
    """A file of that name that the journal has nothing of is somebody else's: it is not ours to write, or to remove."""
    path = step.get("write") or step.get("to")
    ours = (each.get("path") for each in kernels.journal.entries() if each.get("kind") == "file")
    if path is not None and os.path.lexists(kernels.tree.path(str(path))) and path not in ours:
        raise fault("taken", f"{path} is there, and is not of isolbench", "move it away, or choose another boot method")
