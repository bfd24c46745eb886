# SPDX-License-Identifier: Apache-2.0
"""No load: what is left is what the machine does by itself."""

from __future__ import annotations

from typing import Any, Sequence

from ..spec import LoadSpec
from ..system import Tree


class Idle:
    kind = "idle"

    def __init__(
        self,
        spec: LoadSpec,
        housekeeping: Sequence[int],
        tree: Tree | None = None,  # noqa: ARG002 (every load is made alike)
    ) -> None:
        self._spec = spec
        self._cpus = list(housekeeping)

    def start(self) -> None:
        return

    def begin(self) -> None:
        return

    def end(self) -> dict[str, Any]:
        return {
            "name": self._spec.name,
            "kind": self._spec.kind,
            "cpus": self._cpus,
            "cpu_time_ns": 0,
            "due_ns": None,
            "share": None,
            "ended": None,
        }

    def stop(self) -> None:
        return
