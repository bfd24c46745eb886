# SPDX-License-Identifier: Apache-2.0
"""Pinned to a CPU that was booted with nohz_full and isolcpus, ordinary policy: alone there it has no tick."""

from .base import Mode

MODE = Mode("nohz-full", where="nohz-full", sched="other")
