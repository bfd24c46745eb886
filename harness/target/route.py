# SPDX-License-Identifier: Apache-2.0
"""The way to a target: the inventory's word first, then ``~/.ssh/config``, as one chain of hops.

Paramiko reads the configuration's ``Host`` and ``Match`` blocks; ``Include`` is unfolded here, since it does not know
it. What the inventory says stands in front, as options on ssh's command line would.
"""

from __future__ import annotations

import getpass
import glob
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko

from ..errors import UserError
from .transport import TargetAddress

_MOST_HOPS = 8
_MOST_INCLUDES = 16  # as OpenSSH
_EVERY_HOST = "Host *"
_DEFAULT_IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa")
_WORD = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.+?)\s*$")


@dataclass(frozen=True)
class Hop:
    """One SSH server on the way, the last of which is the target itself."""

    host: str
    port: int
    user: str
    identities: tuple[Path, ...]
    identities_given: bool  # named by somebody, not the defaults: a missing one is worth a word
    identities_only: bool
    key_host: str  # the name its host key is filed under
    known_hosts: tuple[Path, ...]  # the user's and the system's files
    connect_timeout_s: float | None
    proxy_command: str | None = None
    agent: Path | None = None  # the socket of the SSH agent, if there is one to ask

    @property
    def label(self) -> str:
        return f"{self.user}@{self.host}" + ("" if self.port == 22 else f":{self.port}")

    @property
    def ssh_words(self) -> str:
        """The same as arguments of ssh and its like."""
        return ("" if self.port == 22 else f"-p {self.port} ") + f"{self.user}@{self.host}"


def route(target: TargetAddress, config: str | None = None) -> list[Hop]:
    """All hops to ``target``, the first to connect to first. Only the first can have a ``proxy_command``.

    ``config`` is the text of :func:`read_config`.
    """
    config = config if config is not None else read_config()
    identity = Path(os.path.expanduser(str(target.identity))) if target.identity else None
    address = target.address or target.name
    return _resolve(config, address, target.port, target.user, identity, target.proxy_jump, seen=())


def _resolve(
    config: str,
    alias: str,
    port: int | None,
    user: str | None,
    identity: Path | None,
    proxy_jump: str | None,
    seen: tuple[str, ...],
) -> list[Hop]:
    found = _lookup(config, alias, port, user)
    hop = _hop(found, alias, identity)
    jumps = proxy_jump if proxy_jump is not None else found.get("proxyjump")
    if jumps is None or jumps.lower() == "none":
        if proxy_jump is None and found.get("proxycommand"):
            hop = _hop(found, alias, identity, found["proxycommand"])
        return [hop]
    if len(seen) >= _MOST_HOPS:
        raise UserError(f"{alias}: more than {_MOST_HOPS} jump hosts: {' → '.join(seen)}")
    way: list[Hop] = []
    for position, jump in enumerate(part.strip() for part in jumps.split(",")):
        jump_user, jump_host, jump_port = _split(jump)
        if jump_host in (alias, hop.host, *seen):
            # `Host *` with a ProxyJump speaks of the jump host too: like ssh, do not jump to where we are.
            if proxy_jump is None:
                return [hop]
            raise UserError(f"{alias}: the jump hosts go in a circle: {jumps}")
        before = None if position == 0 else "none"
        way += _resolve(config, jump_host, jump_port, jump_user, None, before, (*seen, alias))
    return [*way, hop]


def _split(jump: str) -> tuple[str | None, str, int | None]:
    """``[user@]host[:port]``, also as ``ssh://``; a host in brackets may hold colons."""
    match = re.fullmatch(r"(?:ssh://)?(?:([^@]+)@)?(?:\[([^\]]+)\]|([^:]+|[^:]*:[^:]*:.*?))(?::(\d+))?/?", jump)
    if match is None:
        raise UserError(f"jump host {jump!r}: not [user@]host[:port]")
    user, bracketed, plain, port = match.groups()
    return user, bracketed or plain, int(port) if port else None


def _lookup(config: str, alias: str, port: int | None, user: str | None) -> paramiko.SSHConfigDict:
    """Look ``alias`` up with port and user in front, so that ``%p``, ``%r`` and ``Match user`` see the real ones."""
    front = "".join(f"{key} {value}\n" for key, value in (("Port", port), ("User", user)) if value)
    try:
        return paramiko.SSHConfig.from_text(front + config).lookup(alias)
    except Exception as error:  # Match exec, canonicalization, a bad line: whatever a configuration can run into
        raise UserError(f"{alias}: the ssh configuration cannot be applied: {error}") from error


def _hop(found: paramiko.SSHConfigDict, alias: str, identity: Path | None, proxy_command: str | None = None) -> Hop:
    home = Path(os.path.expanduser("~/.ssh"))
    named = [Path(os.path.expanduser(path)) for path in found.get("identityfile", []) if path.lower() != "none"]
    identities = ([identity] if identity else []) + named
    timeout = found.get("connecttimeout", "none")
    return Hop(
        host=found.get("hostname", alias),
        port=int(found.get("port", 22)),
        user=found.get("user") or getpass.getuser(),
        identities=tuple(identities or (home / name for name in _DEFAULT_IDENTITIES)),
        identities_given=bool(identities),
        identities_only=found.get("identitiesonly", "no").lower() == "yes",
        key_host=found.get("hostkeyalias") or found.get("hostname", alias),
        known_hosts=(
            *_files(found.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")),
            *_files(found.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2")),
        ),
        connect_timeout_s=float(timeout) if timeout.isdigit() else None,
        proxy_command=proxy_command,
        agent=_agent(found, alias),
    )


def _agent(found: paramiko.SSHConfigDict, alias: str) -> Path | None:
    """``IdentityAgent``, which paramiko leaves to us: a path, the name of a variable, or ``none``."""
    said = found.get("identityagent", "SSH_AUTH_SOCK")
    if said.lower() == "none":
        return None
    if said == "SSH_AUTH_SOCK" or re.fullmatch(r"\$\w+|\$\{\w+\}", said):
        value = os.environ.get(said.strip("${}"), "")
    else:
        ours = {"%": "%", "d": os.path.expanduser("~"), "u": getpass.getuser(), "i": str(os.getuid())}
        theirs = {
            "h": found.get("hostname", alias),
            "n": alias,
            "p": found.get("port", "22"),
            "r": found.get("user", ""),
        }
        value = re.sub("%(.)", lambda match: {**ours, **theirs}.get(match[1], match[0]), said)
        value = os.path.expanduser(os.path.expandvars(value))
    return Path(value) if value else None


def _files(value: str) -> Iterator[Path]:
    for word in shlex.split(value):
        if word.lower() != "none":
            yield Path(os.path.expanduser(word.replace("%d", os.path.expanduser("~"))))


def read_config() -> str:
    """The user's configuration, then the system's, unfolded. A file that is not there says nothing."""
    lines: list[str] = []
    for path in (Path(os.path.expanduser("~/.ssh/config")), Path("/etc/ssh/ssh_config")):
        try:
            lines += [*unfold(path), _EVERY_HOST]
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise UserError(f"{path}: {error}") from None
    return "\n".join(lines) + "\n"


def unfold(path: Path, depth: int = 0) -> Iterator[str]:
    """The lines of an ssh configuration file with its Includes in place.

    After an include the block in which it stood goes on, whatever blocks the included file opened.
    """
    if depth > _MOST_INCLUDES:
        raise ValueError(f"more than {_MOST_INCLUDES} Includes in each other")
    try:
        text = path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return
    block = _EVERY_HOST
    for line in text.splitlines():
        match = _WORD.match(line)
        keyword = match.group(1).lower() if match else ""
        if match and keyword == "include":
            for pattern in shlex.split(match.group(2)):
                # relative to the directory of the user's, or the system's, top file
                base = path.parent if depth == 0 else _top(path)
                for name in sorted(glob.glob(os.path.join(base, os.path.expanduser(pattern)))):
                    yield from unfold(Path(name), depth + 1)
            yield block
            continue
        if keyword in ("host", "match"):
            block = line
        yield line


def _top(path: Path) -> Path:
    return Path("/etc/ssh") if path.is_relative_to("/etc/ssh") else Path(os.path.expanduser("~/.ssh"))
