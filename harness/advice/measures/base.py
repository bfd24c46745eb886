# SPDX-License-Identifier: Apache-2.0
"""The shape of a measure against an interruption. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..state import State

#: Who has to act: on the command line, on a setting that ``tune`` takes, on the kernel's build, on the measured
#: program, or on what is below and around it (firmware, hypervisor, other programs).
KINDS = ("boot", "knob", "kernel-option", "application", "host")

PARAMETERS = "admin-guide/kernel-parameters.txt"
KTHREADS = "admin-guide/kernel-per-CPU-kthreads.rst"

Holds = Callable[[State], "bool | None"]


def unknown(_state: State) -> bool | None:
    return None


@dataclass(frozen=True)
class Measure:
    """``text`` takes ``{cpu}``. ``doc`` is a place in the kernel's ``Documentation/``, or a manual page: ``name(2)``.

    ``holds`` says whether it is in effect; None where that cannot be known. ``parameter`` is what a boot profile adds,
    and takes ``{isolated}``, as profiles do: only of what may be tried on any machine without a second thought.
    ``option``: without this one (CONFIG_…) the kernel does not heed the parameter. ``arch``: it is of this one alone.
    ``mode``: one that does the same, as ``text`` says in the words of ``or_mode``.
    """

    kind: str
    text: str
    doc: str
    holds: Holds = unknown
    knob: str | None = None
    parameter: str | None = None
    option: str | None = None
    arch: str | None = None
    mode: str | None = None

    @property
    def or_mode(self) -> str:
        return "" if self.mode is None else f", or measure in mode {self.mode}"
