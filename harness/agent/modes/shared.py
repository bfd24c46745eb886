# SPDX-License-Identifier: Apache-2.0
"""Not pinned, the scheduler's ordinary policy: what a task gets that asks for nothing."""

from .base import Mode

MODE = Mode("shared", where="shared", sched="other")
