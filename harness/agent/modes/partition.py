# SPDX-License-Identifier: Apache-2.0
"""In a cpuset partition of its own, ordinary policy: no other task may come, and the scheduler balances none there."""

from .base import Mode

MODE = Mode("partition", where="partition", sched="other")
