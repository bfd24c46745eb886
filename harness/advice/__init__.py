# SPDX-License-Identifier: Apache-2.0
"""Cause -> remedy: what a target's facts say about how quiet its cores can be (:func:`findings`), and what removes a
cause that was measured (:func:`remedies`). ``doctor``, ``plan`` and reports read it. Pure."""

from __future__ import annotations

from .causes import Remedy, explain, remedies
from .findings import LEVELS, Finding, findings, worst
from .measures import KINDS

__all__ = ["KINDS", "LEVELS", "Finding", "Remedy", "explain", "findings", "remedies", "worst"]
