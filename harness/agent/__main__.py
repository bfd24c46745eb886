# SPDX-License-Identifier: Apache-2.0
"""The agent's commands: ``start``, ``attach``, ``restore``, ``facts``, ``kernels``.

Exit status: 0 done, 1 something could not be put back, 2 usage, 3 this machine lacks something.

What only one of them needs it imports by itself: ``attach``, which only pumps bytes, would else keep each connection
waiting for all of the agent. On a slow board that is several seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any, Sequence

from .attach import attach, connect, refuse
from .detach import new_marker, self_command
from .frames import Decoder, encode
from .paths import Paths, find_paths
from .processes import MARKER
from .server import NameTaken, listen
from .system import AgentError

USAGE = """usage: agent start|attach|restore|facts|kernels [options]
  start    start the agent's daemon, if there is none (--foreground: be it)
  attach   connect standard input and output to the daemon, starting it where needed
  restore  put back whatever an agent left changed on this machine, and say what
  facts    print what this machine is, as JSON
  kernels  install, list or remove kernels of ours: one request on standard input
options: --state DIR  --runtime DIR  --deploy DIR  --socket NAME  --idle SECONDS"""
_OPTIONS = ("--state", "--runtime", "--deploy", "--socket", "--idle")
#: Starting an agent costs 50 ms; one that waits for nothing keeps other users off the machine.
_IDLE_S = 3.0


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    options: dict[str, str] = {}
    foreground = False
    command = words.pop(0) if words else ""
    while words:
        word = words.pop(0)
        if word == "--foreground":
            foreground = True
        elif word in _OPTIONS and words:
            options[word[2:]] = words.pop(0)
        else:
            return _usage(f"unknown option, or without its value: {word}")
    try:
        idle_s = float(options.pop("idle", _IDLE_S))
    except ValueError:
        return _usage("--idle: seconds are wanted")
    if command == "facts":
        from . import facts as facts_module

        print(json.dumps(facts_module.gather(), indent=1))
        return 0
    if command == "kernels":
        from .kernelrequests import main as kernels_main

        return kernels_main(sys.stdin.buffer, sys.stdout)
    if command not in ("start", "attach", "restore"):
        return _usage(f"unknown command: {command}" if command else "a command is wanted")
    try:
        paths = find_paths(**options)
        if command == "attach":
            return attach(paths, idle_s)
        if command == "restore":
            return _restore(paths, idle_s)
        if foreground:
            return _be_daemon(paths, idle_s)
        sock, _ = connect(paths, idle_s)
        sock.close()
    except AgentError as error:
        if command == "attach":
            refuse(error)
        print(f"isolbench agent: {error}" + (f" ({error.advice})" if error.advice else ""), file=sys.stderr)
        return 3
    return 0


def _usage(problem: str) -> int:
    print(f"isolbench agent: {problem}\n{USAGE}", file=sys.stderr)
    return 2


def _be_daemon(paths: Paths, idle_s: float) -> int:
    marker = os.environ.get(MARKER)
    if not marker:
        # It must be in /proc/self/environ, where all our descendants get theirs from: only exec puts it there.
        command, more = self_command()
        argv = [*command, "start", "--foreground", "--idle", f"{idle_s:g}", "--state", paths.state]
        argv += ["--runtime", paths.runtime, "--deploy", paths.deploy, "--socket", paths.socket]
        os.execve(argv[0], argv, {**os.environ, **more, MARKER: new_marker()})  # noqa: S606 (no shell is the point)
    from .supervisor import supervise

    return supervise(paths, marker, idle_s)


def _restore(paths: Paths, idle_s: float) -> int:
    """By the daemon where one lives; else by ourselves, holding its name meanwhile so that none starts."""
    from .supervisor import recover

    try:
        with contextlib.closing(listen(paths.socket)):
            restored = recover(paths, "the agent was killed, or the machine went down")
    except NameTaken:
        restored = _ask_daemon(paths, idle_s)
    for entry in restored:
        print(_describe(entry))
    if not restored:
        print("nothing to put back")
    return 0 if all(entry["ok"] for entry in restored) else 1


def _ask_daemon(paths: Paths, idle_s: float) -> list[dict[str, Any]]:
    from .spec import PROTOCOL

    sock, said = connect(paths, idle_s)
    with sock:
        sock.settimeout(60.0)
        owner = {"id": f"restore-{os.getpid()}", "who": f"agent restore, pid {os.getpid()}"}
        sock.sendall(encode({"t": "hello", "id": 1, "proto": PROTOCOL, "owner": owner}))
        sock.sendall(encode({"t": "restore", "id": 2}))
        decoder = Decoder(seek_magic=True)
        restored: list[dict[str, Any]] = []
        while said:
            for frame in decoder.feed(said):
                if frame.type == "error":
                    head = frame.head
                    raise AgentError(head["fault"], head["kind"], head["message"], head.get("advice"))
                again = frame.head.get("restored", [])
                # What failed until now is tried by this request, and so is in its answer.
                restored = [each for each in restored if each["ok"]] + again
                if frame.head.get("id") == 2:
                    return restored
            said = sock.recv(1 << 16)
    raise AgentError("bug", "restore", "the agent closed the connection")


def _describe(entry: dict[str, Any]) -> str:
    if entry.get("kind") == "processes":
        left = "" if entry["ok"] else f"; {entry.get('reason')}"
        return f"processes left over: killed {entry.get('killed') or 'none'}{left}"
    outcome = "put back" if entry["ok"] else f"NOT put back ({entry.get('reason')})"
    return f"{entry.get('path')}: {entry.get('found')} -> {entry.get('before')}: {outcome}"


if __name__ == "__main__":
    raise SystemExit(main())
