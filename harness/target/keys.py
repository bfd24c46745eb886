# SPDX-License-Identifier: Apache-2.0
"""Host keys: who a machine must prove to be. Reads and writes OpenSSH's known_hosts files.

Paramiko's own reader knows neither ``@revoked`` nor wildcards nor two keys of one type for one host, and forgets where
an entry stood, so this one is ours. Trust comes in layers, and the first layer that knows the name decides alone: the
``host_key`` of the inventory, then the inventory's known_hosts file, then the user's and the system's.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from ..errors import ConfigError, HostKeyError

#: What paramiko may be offered for a key's type, best first. An RSA key signs with SHA-2, never as "ssh-rsa".
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


@dataclass(frozen=True)
class HostKey:
    """A public key, as the wire carries it."""

    type: str
    blob: bytes

    @classmethod
    def of(cls, key: paramiko.PKey) -> HostKey:
        return cls(key.get_name(), key.asbytes())

    @classmethod
    def parse(cls, text: str) -> HostKey:
        """From ``"ssh-ed25519 AAAA… [comment]"``. Raises ValueError if the blob is not of the type it claims."""
        fields = text.split()
        if len(fields) < 2:
            raise ValueError("a host key is two words: its type and its base64")
        try:
            blob = base64.b64decode(fields[1], validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("the key's base64 is broken") from None
        size = int.from_bytes(blob[:4], "big")
        if len(blob) <= 4 + size or blob[4 : 4 + size] != fields[0].encode("utf-8", "replace"):
            raise ValueError(f"the key is not of the type it claims ({fields[0]})")
        return cls(fields[0], blob)

    @property
    def fingerprint(self) -> str:
        """``SHA256:…``, as ssh-keygen -l prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.type} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True)
class Entry:
    """One line of a known_hosts file, or the inventory's ``host_key``; ``where`` is for messages.

    ``authority``: the key signs certificates of hosts, and is none of them.
    """

    patterns: tuple[str, ...]
    key: HostKey
    where: str
    revoked: bool = False
    authority: bool = False

    @property
    def of_host(self) -> bool:
        """Whether the line says: this is the host's key."""
        return not self.revoked and not self.authority

    def matches(self, name: str) -> bool:
        """Whether the line speaks of ``name``: hashed, with wildcards, and with ``!`` for exceptions."""
        found = False
        for pattern in self.patterns:
            if pattern.startswith("|1|"):
                found = found or _hashed_matches(pattern, name)
            elif pattern.startswith("!"):
                if _wild_matches(pattern[1:], name):
                    return False
            else:
                found = found or _wild_matches(pattern, name)
        return found


def _wild_matches(pattern: str, name: str) -> bool:
    # OpenSSH knows * and ? alone; to fnmatch the brackets of [host]:port would be a set of characters.
    return fnmatch.fnmatchcase(name, pattern.lower().replace("[", "[[]"))


def _hashed_matches(pattern: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in pattern.split("|")[2:4])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)


def parse_known_hosts(text: str, where: str) -> list[Entry]:
    """Lines that cannot be understood are passed over, as OpenSSH does. Those of ``@cert-authority`` are kept to be
    named: paramiko cannot check a host's certificate."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields[0] if fields[0].startswith("@") else ""
        if marker:
            if marker not in ("@revoked", "@cert-authority"):
                continue
            fields = fields[1:]
        try:
            key = HostKey.parse(" ".join(fields[1:3]))
        except ValueError:
            continue
        patterns, place = tuple(fields[0].split(",")), f"{where}:{number}"
        entries.append(Entry(patterns, key, place, marker == "@revoked", marker == "@cert-authority"))
    return entries


def host_name(host: str, port: int) -> str:
    """How known_hosts files call it: ``host``, or ``[host]:port`` off the usual port."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


@dataclass(frozen=True)
class KnownHosts:
    """Layers of trust, the most particular first."""

    layers: tuple[tuple[Entry, ...], ...]

    @classmethod
    def load(cls, pinned: str | None, pinned_where: str, files: Sequence[Sequence[Path]]) -> KnownHosts:
        """``files``: one sequence of known_hosts files a layer; one that does not exist knows nothing."""
        layers: list[tuple[Entry, ...]] = []
        if pinned:
            try:
                layers.append((Entry(("*",), HostKey.parse(pinned), pinned_where),))
            except ValueError as error:
                raise ConfigError([f"{pinned_where}: {error}"]) from None
        for group in files:
            layers.append(tuple(entry for path in group for entry in _load(path)))
        return cls(tuple(layers))

    def _deciding(self, host: str, port: int) -> tuple[Entry, ...]:
        """The entries of the first layer that knows this name."""
        for layer in self.layers:
            name = host_name(host, port)
            found = tuple(entry for entry in layer if entry.of_host and entry.matches(name))
            if found:
                return found
        return ()

    def algorithms(self, host: str, port: int, offered: Iterable[str]) -> list[str]:
        """``offered`` signature algorithms, those of keys that we know first: a server with several shows the known."""
        known = [entry.key.type for entry in self._deciding(host, port) or self._plain(host)]
        first = [algorithm for kind in known for algorithm in _ALGORITHMS.get(kind, (kind,))]
        order = list(offered)
        return sorted(order, key=lambda algorithm: first.index(algorithm) if algorithm in first else len(first))

    def _plain(self, host: str) -> tuple[Entry, ...]:
        """As OpenSSH does, an entry without a port vouches for any port, but never contradicts it."""
        return tuple(entry for layer in self.layers for entry in layer if entry.of_host and entry.matches(host.lower()))

    def verify(self, host: str, port: int, shown: HostKey, *, pin_command: str, replaced: bool = False) -> None:
        """Raise :class:`HostKeyError` unless ``shown`` is the key that the deciding layer names.

        ``pin_command`` is for the advice; ``replaced`` if it puts the new key in the place of the old one by itself.
        """
        name = host_name(host, port)
        names = {name, host.lower()}
        for layer in self.layers:
            for entry in layer:
                if entry.revoked and entry.key == shown and any(map(entry.matches, names)):
                    raise HostKeyError(
                        f"{name}: its host key {shown.type} {shown.fingerprint} is revoked ({entry.where})",
                        advice="whoever revoked it had a reason: give the machine a new host key, then pin that",
                    )
        known = self._deciding(host, port)
        if any(entry.key == shown for entry in known):
            return
        if known:
            expected = next((entry for entry in known if entry.key.type == shown.type), known[0])
            raise HostKeyError(
                f"{name}: wrong host key: it shows {shown.type} {shown.fingerprint}, "
                f"known is {expected.key.type} {expected.key.fingerprint} ({expected.where})",
                advice="somebody may stand in between; if it was reinstalled, "
                + ("" if replaced else f"remove the old key from {expected.where} and ")
                + f"pin the new one: {pin_command}",
            )
        if any(entry.key == shown for entry in self._plain(host)):
            return
        signed = next((e for layer in self.layers for e in layer if e.authority and any(map(e.matches, names))), None)
        but = f" ({signed.where} trusts its certificate, which isolbench cannot check)" if signed else ""
        raise HostKeyError(
            f"{name}: unknown host key {shown.type} {shown.fingerprint}{but}; to pin it: {pin_command}",
            advice="compare the fingerprint with the machine's own: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        )


def _load(path: Path) -> list[Entry]:
    try:
        return parse_known_hosts(path.read_text("utf-8", "replace"), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise HostKeyError(f"{path}: cannot be read: {error.strerror}") from None


def pin(path: Path, name: str, key: HostKey) -> bool:
    """Write ``key`` for ``name`` (see :func:`host_name`) into a known_hosts file; False if it stood there already.

    The file is replaced in one step. Another key of that type for exactly this name contradicts: HostKeyError.
    """
    text = path.read_text("utf-8", "surrogateescape") if path.exists() else ""
    for entry in parse_known_hosts(text, str(path)):
        if not entry.of_host or not entry.matches(name):
            continue
        if entry.key == key:
            return False
        if entry.key.type == key.type:
            raise HostKeyError(
                f"{name}: {entry.where} has another key, {entry.key.type} {entry.key.fingerprint}; "
                f"the machine shows {key.fingerprint}",
                advice=f"if the machine was reinstalled, remove {entry.where} first",
            )
    if text and not text.endswith("\n"):
        text += "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(f"{text}{name} {key}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return True
