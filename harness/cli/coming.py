# SPDX-License-Identifier: Apache-2.0
"""Boards that come up: on a terminal a line for each while it does, in a pipe a line for each thing that happens."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import click
from rich.live import Live
from rich.text import Text

from .consoles import Console
from .render import error_lines, printable, unheard

if TYPE_CHECKING:
    from ..errors import IsolbenchError
    from ..lab.state import Record

_REFRESH_HZ = 2


class Coming:
    """What is told of boards ``names`` that come up; ``quiet`` says only what went wrong."""

    def __init__(self, names: Sequence[str], *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        self._drawn = self._console.is_terminal and not quiet
        self._began: dict[str, float] = {}
        self._doing = dict.fromkeys(names, "")
        self._live = Live(
            console=self._console, get_renderable=self._drawing, refresh_per_second=_REFRESH_HZ, transient=True
        )

    def __enter__(self) -> Coming:
        if self._drawn:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            with unheard():
                self._live.stop()

    def say(self, name: str) -> Callable[[str], None]:
        """What is told while the board ``name`` comes up: what it does from now on."""

        def told(text: str) -> None:
            self._began.setdefault(name, time.monotonic())
            self._doing[name] = text
            if not self._drawn and not self._quiet:
                click.echo(f"isolbench: {printable(text)}", err=True)

        return told

    def done(self, name: str, outcome: Record | IsolbenchError) -> None:
        """It is up, or why not."""
        from ..errors import IsolbenchError

        self._doing.pop(name, None)
        if isinstance(outcome, IsolbenchError):
            for line in error_lines(outcome):
                self._print(line, err=True)
        elif not self._quiet:
            began = self._began.get(name)
            took = "" if began is None else f" after {time.monotonic() - began:.0f} s"
            words = f"{outcome.image}, {outcome.kernel} kernel, {outcome.accel}"
            self._print(f"{printable(name)}: up{took or ' already'}: {words}")

    def _print(self, line: str, *, err: bool = False) -> None:
        """Above what is drawn, where something is."""
        with unheard():
            if self._drawn and (err or sys.stdout.isatty()):
                self._console.print(Text(line), soft_wrap=True)
            else:
                click.echo(line, err=err)

    def _drawing(self) -> Text:
        now = time.monotonic()
        lines = [
            f"{printable(name)}: {printable(text.removeprefix(f'{name}: ') or 'waits for its turn')}, "
            f"{now - self._began.get(name, now):.0f} s"
            for name, text in self._doing.items()
        ]
        return Text("\n".join(lines), overflow="ellipsis", no_wrap=True)
