# SPDX-License-Identifier: Apache-2.0
"""SCHED_DEADLINE, in a partition: a root domain of its own is what the kernel wants of a task with one CPU."""

from .base import Mode

MODE = Mode("deadline", where="partition", sched="deadline")
