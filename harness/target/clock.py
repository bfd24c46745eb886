# SPDX-License-Identifier: Apache-2.0
"""By how much a target's clock is off. It is measured and told, never set, and nothing depends on it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """``skew_ns``: the target's CLOCK_REALTIME less the controller's, known to ± ``uncertainty_ns``."""

    skew_ns: int
    uncertainty_ns: int

    @classmethod
    def read(cls, sent_ns: int, took_ns: int, theirs_ns: int) -> Clock:
        """From one round trip: sent at ``sent_ns`` (realtime), ``took_ns`` long (monotonic), the target's answer.

        The target looked at its clock somewhere within: the middle errs by half of it at most.
        """
        half_ns = took_ns // 2
        return cls(theirs_ns - (sent_ns + half_ns), took_ns - half_ns)

    def to_json(self) -> dict[str, int]:
        return {"skew_ns": self.skew_ns, "uncertainty_ns": self.uncertainty_ns}
