# SPDX-License-Identifier: Apache-2.0
"""kernel.sched_rt_runtime_us = -1: else a FIFO task that never sleeps is stopped 50 ms of each second."""

from __future__ import annotations

from .base import FileKnob, Unavailable


class RtThrottling(FileKnob):
    name = "rt-throttling"
    path = "/proc/sys/kernel/sched_rt_runtime_us"
    value = "-1"
    remedy = "run the agent as root (become: sudo), or set kernel.sched_rt_runtime_us=-1 yourself"

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        return Unavailable("this kernel has no sched_rt_runtime_us", needed=False)
