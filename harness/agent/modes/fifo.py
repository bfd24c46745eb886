# SPDX-License-Identifier: Apache-2.0
"""Pinned, SCHED_FIFO: only the kernel may interrupt it. Priority 1 already precedes every ordinary task."""

from .base import Mode

MODE = Mode("fifo", where="pinned", sched="fifo:1")
