# SPDX-License-Identifier: Apache-2.0
"""Any command of the campaign. It has to last: when the last of its processes has gone, the load has ended."""

from __future__ import annotations

from .command import CommandLoad


class Argv(CommandLoad):
    kind = "argv"

    def command(self) -> list[str]:
        return list(self.spec.argv)
