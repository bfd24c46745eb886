# SPDX-License-Identifier: Apache-2.0
"""Housekeeping CPUs that enter the kernel without end: cheap system calls, and some on files and pipes."""

from __future__ import annotations

from .generator import GeneratorLoad


class Syscalls(GeneratorLoad):
    kind = "syscalls"
