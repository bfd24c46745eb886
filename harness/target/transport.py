# SPDX-License-Identifier: Apache-2.0
"""How the controller reaches a target: one narrow protocol, and a local and an SSH implementation of it.

A *transport* is one connection. It runs short commands to their end (:meth:`Transport.run`) and holds long ones open
(:meth:`Transport.open`). Commands are argument vectors and arrive as they are: no shell of ours reads them, and a login
shell in between cannot change them. There is no environment argument, because SSH servers drop what they are sent.

Every wait takes a :class:`~harness.deadline.Deadline`. When it passes, the call raises
:class:`~harness.errors.ConnectionLost`: to the controller a frozen peer is a lost one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..deadline import Deadline
from ..errors import Unreachable

#: What is kept of a held command's standard error, for messages: its last bytes.
STDERR_TAIL_BYTES = 64 * 1024


class AuthenticationFailed(Unreachable):
    """The target refused every key that we have. Trying again would change nothing (and may get us penalised)."""


class TargetAddress(Protocol):
    """What is read of an inventory's target. ``None`` means: as ``~/.ssh/config`` says, else SSH's own default."""

    @property
    def name(self) -> str: ...
    @property
    def local(self) -> bool: ...
    @property
    def address(self) -> str | None: ...
    @property
    def port(self) -> int | None: ...
    @property
    def user(self) -> str | None: ...
    @property
    def identity(self) -> str | Path | None: ...
    @property
    def host_key(self) -> str | None: ...
    @property
    def known_hosts(self) -> str | Path | None: ...
    @property
    def proxy_jump(self) -> str | None: ...
    @property
    def connect_timeout(self) -> float | None: ...
    @property
    def virtual(self) -> object | None: ...


class TargetPrivileges(Protocol):
    """What :func:`harness.target.contact.contact` reads of an inventory's target."""

    @property
    def name(self) -> str: ...
    @property
    def become(self) -> str | None: ...


@dataclass(frozen=True)
class Completed:
    """A command that ended. ``status`` is its exit status, or negative if a signal killed it.

    Locally it is minus the signal's number; over SSH always -1, since paramiko does not hand the number on.
    """

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        return self.status == 0

    def last_words(self) -> str:
        """The last line that is not empty of standard error, else of standard output: what to show a person."""
        for stream in (self.stderr, self.stdout):
            lines = [line.strip() for line in stream.decode("utf-8", "replace").splitlines() if line.strip()]
            if lines:
                return lines[-1]
        return f"exit status {self.status}, and not a word"


class Channel(Protocol):
    """A command that is held open: its standard input and output are a byte stream in both directions."""

    def read(self, n: int, deadline: Deadline) -> bytes:
        """At most ``n`` bytes as soon as there are any; ``b""`` once the command closed its output."""

    def write(self, data: bytes, deadline: Deadline) -> None:
        """Hand over all of ``data``. Part of it may have gone when this raises: the stream is of no use then."""

    def close_stdin(self, deadline: Deadline) -> None:
        """The command reads an end of file."""

    def stderr_tail(self) -> str:
        """The end of what the command said on standard error so far (at most 64 KiB)."""

    def exit_status(self, deadline: Deadline) -> int | None:
        """As :attr:`Completed.status`; ``None`` if the command still runs when the deadline passes."""

    def close(self) -> None:
        """End the command if it still runs, and free what it held. May be called twice; raises nothing."""


class Transport(Protocol):
    """One connection to one target. ``name`` is the target's, for messages."""

    name: str

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: Deadline) -> Completed:
        """Run to the end. A command that cannot be found is status 127, not an exception."""

    def open(self, argv: Sequence[str], *, deadline: Deadline) -> Channel: ...

    def close(self) -> None:
        """Close every channel and the connection. May be called twice; raises nothing."""


#: Waits for so many seconds, or until somebody asks for an end: then what it returns is true.
Pause = Callable[[float], object]
#: Told before each pause: why there is one, and how many seconds it lasts.
Waiting = Callable[[str, float], None]


def open_transport(
    target: TargetAddress,
    deadline: Deadline | None = None,
    pause: Pause | None = None,
    waiting: Waiting | None = None,
) -> Transport:
    """Connect to ``target``, trying again while its server sheds load; without a ``pause`` it is tried once.

    Without a ``deadline`` the back-off is allowed to run its course. No message begins with the target's name: whoever
    shows it knows which target is meant.

    Raises :class:`~harness.errors.Unreachable`, :class:`AuthenticationFailed`, :class:`~harness.errors.HostKeyError`.
    """
    if target.local:
        from .local import LocalTransport

        return LocalTransport(target.name)
    from .ssh import SshTransport  # fabric costs 0.1 s to import

    if target.virtual is not None:
        from ..lab.power import wake
        from ..lab.way import reach

        wake(target.name)
        target = reach(target)
    return SshTransport.connect(target, deadline, pause=pause, waiting=waiting)
