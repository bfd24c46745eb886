# SPDX-License-Identifier: Apache-2.0
"""Rich's console, less its way with a reader who leaves: it would end the process, with an exit status of ours."""

from __future__ import annotations

import rich.console


class Console(rich.console.Console):
    def on_broken_pipe(self) -> None:
        """Called while the exception is handled: let it go on to whoever knows what that means."""
        raise
