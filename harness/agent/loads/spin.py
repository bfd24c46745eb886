# SPDX-License-Identifier: Apache-2.0
"""Housekeeping CPUs that are never idle, and hardly ever in the kernel."""

from __future__ import annotations

from .generator import GeneratorLoad


class Spin(GeneratorLoad):
    kind = "spin"
