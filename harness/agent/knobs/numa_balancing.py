# SPDX-License-Identifier: Apache-2.0
"""kernel.numa_balancing = 0: else the kernel unmaps pages now and then, to see by the faults who uses them."""

from __future__ import annotations

from .base import FileKnob, Unavailable


class NumaBalancing(FileKnob):
    name = "numa-balancing"
    path = "/proc/sys/kernel/numa_balancing"
    value = "0"
    remedy = "set kernel.numa_balancing=0 yourself"

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        return Unavailable("this kernel has no NUMA balancing", needed=False)
