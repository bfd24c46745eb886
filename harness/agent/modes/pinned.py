# SPDX-License-Identifier: Apache-2.0
"""Pinned to the measured CPU, ordinary policy, device interrupts moved away, no deep idle."""

from .base import Mode

MODE = Mode("pinned", where="pinned", sched="other")
