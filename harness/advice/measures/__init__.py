# SPDX-License-Identifier: Apache-2.0
"""What can be done about what interrupts a core: each measure once, by a key that causes name it by. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from . import application, boot, host, knobs, options
from .base import KINDS, Measure

__all__ = ["KINDS", "MEASURES", "Measure"]

MEASURES: Mapping[str, Measure] = {
    **boot.MEASURES,
    **knobs.MEASURES,
    **options.MEASURES,
    **application.MEASURES,
    **host.MEASURES,
}
