# SPDX-License-Identifier: Apache-2.0
"""No load: what is left is what the machine does by itself."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ..spec import LoadSpec
from ..system import Tree
from .base import report


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

    @classmethod
    def needs(cls, spec: LoadSpec, facts: Mapping[str, Any], housekeeping: Sequence[int]) -> list[str]:  # noqa: ARG003
        return []

    def start(self) -> None:
        return

    def begin(self) -> None:
        return

    def end(self) -> dict[str, Any]:
        return report(self._spec, self._cpus)

    def stop(self) -> list[int]:
        return []
