# SPDX-License-Identifier: Apache-2.0
"""The command line. Thin: a command parses, calls one function, renders. What is heavy is imported inside commands."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
from typing import TextIO

import click

from .. import __version__

#: name -> (module, one line of help). The line stands here so that ``--help`` imports no command.
COMMANDS: dict[str, tuple[str, str]] = {
    "doctor": ("doctor", "Check this machine and targets: tools, keys, sudo, knobs, isolation; with advice."),
    "plan": ("plan", "Show what would run, what would not and why, and how long it takes. Contacts nothing."),
    "run": ("run", "Carry out a campaign."),
    "resume": ("run", "Continue an execution: what has finished is not repeated."),
    "status": ("status", "How far executions are."),
    "show": ("show", "One run, or one execution, in detail."),
    "compare": ("compare", "Two executions beside each other: numbers, causes, what else changed."),
    "report": ("report", "Write the HTML report of an execution."),
    "init": ("init", "Add a target to the inventory and pin its host key."),
    "trend": ("trend", "A campaign's figures over its executions."),
    "export": ("export", "Results as parquet, csv, jsonl, hlog or perfetto."),
    "restore": ("restore", "Put targets back as they were found, after a crash."),
    "lab": ("lab", "Virtual boards: real kernels in QEMU, brought up, looked into, taken down."),
    "schema": ("schema", "JSON Schema of campaign, inventory and bench files, for editors."),
}


class Lazy(click.Group):
    """Imports a command's module when that command is asked for, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f".{COMMANDS[name][0]}", __name__), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if ctx.resilient_parsing and args and args[0] not in COMMANDS:  # a shell completes: it says nothing
            return None, None, args
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"no such command: {args[0]!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        daily = [(name, text) for name, (_, text) in list(COMMANDS.items())[:8]]
        sometimes = [(name, text) for name, (_, text) in list(COMMANDS.items())[8:]]
        for title, rows in (("Daily", daily), ("Sometimes", sometimes)):
            with formatter.section(title):
                formatter.write_dl(rows)


EPILOG = """\b
Exit codes, first match wins:
  2        usage or configuration
  130/143  interrupted; the targets were put back first
  1        over a budget
  3        environment or infrastructure, below the quorum
  4        nothing valid was measured
  5        incomplete: can be resumed
  0        measured
  70       a bug in isolbench: please report it
"""

#: What a machine may refuse to any program at any moment: no bug of ours, wherever it strikes.
_ENVIRONMENT = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM")
)


@click.command(
    cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=EPILOG
)
@click.version_option(__version__, "--version", prog_name="isolbench")
def group() -> None:
    """Measure what a kernel does to a core that was asked to be left alone."""


def main() -> None:
    """The entry point of the ``isolbench`` command: errors become one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an encoding that lacks a character is no reason to fail
    code = _run()
    try:
        sys.stderr.flush()
    except (OSError, ValueError):  # a full disk behind it, or closed
        _abandon(sys.stderr, 2)
    sys.exit(code)


def _run() -> int:
    """Carry out the command line; its exit code. Raises nothing."""
    from ..errors import Bug, IsolbenchError

    if "_ISOLBENCH_COMPLETE" in os.environ:
        from .shells import register

        register()
    try:
        code = group.main(prog_name="isolbench", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Abort:
        return _told(130, "user", "interrupted")
    except click.ClickException as error:
        error.show()
        return _told(2 if isinstance(error, click.UsageError) else error.exit_code, "user", error.format_message())
    except click.exceptions.Exit as done:
        return done.exit_code
    except IsolbenchError as error:
        from .render import error_lines

        _complain(*error_lines(error))
        return _told(error.exit_code, error.fault, str(error), error.advice)
    except (BrokenPipeError, SystemExit):  # click and rich turn the first into the second
        _abandon(sys.stdout, 1)  # the reader of our output left (`| head`)
        return 0
    except OSError as error:
        if error.errno not in _ENVIRONMENT:
            return _bug(Bug.exit_code)
        _abandon(sys.stdout, 1)
        where = error.filename if isinstance(error.filename, str) else "cannot write the output"
        _complain(f"isolbench: {where}: {error.strerror}")
        return 3
    except Exception:  # Python's own exit status for this is 1, which means something else here
        return _bug(Bug.exit_code)


def _bug(code: int) -> int:
    import traceback

    _complain(traceback.format_exc().rstrip(), "isolbench: this is a bug in isolbench: please report the lines above")
    return _told(code, "bug", traceback.format_exc(limit=0, chain=False).strip().splitlines()[-1])


def _told(code: int, fault: str, message: str, advice: str | None = None) -> int:
    """The exit code. Who asked for a JSON document gets one, whatever happened; nothing else is on stdout yet."""
    if "--json" in sys.argv[1:]:
        import json

        error = {"fault": fault, "message": message, "advice": advice, "exit_code": code}
        with contextlib.suppress(OSError):
            click.echo(json.dumps({"error": error}, indent=2, ensure_ascii=False))
    return code


def _complain(*lines: str) -> None:
    with contextlib.suppress(OSError):  # standard error may be as full as standard output
        for line in lines:
            click.echo(line, err=True)


def _abandon(stream: TextIO, fd: int) -> None:
    """Python flushes both streams at exit, would fail again, and has a traceback and a status of its own for it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
        stream.flush()
