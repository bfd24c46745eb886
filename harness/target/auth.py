# SPDX-License-Identifier: Apache-2.0
"""Proving who we are: keys from files and from the SSH agent, in the order that ssh tries them. Never passwords."""

from __future__ import annotations

import base64
import contextlib
import socket
from collections.abc import Generator, Iterator
from pathlib import Path

import paramiko
from paramiko.agent import AgentSSH
from paramiko.auth_strategy import AuthResult, AuthStrategy, InMemoryPrivateKey

from .route import Hop
from .transport import AuthenticationFailed

#: An agent may ask a person, or wait for a touch: no longer than a login may take.
_AGENT_S = 15.0


class _Agent(AgentSSH):
    """The SSH agent at any socket; paramiko's own asks that of SSH_AUTH_SOCK alone."""

    def connect(self, path: Path) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(_AGENT_S)
        try:
            sock.connect(str(path))
            self._connect(sock)  # type: ignore[attr-defined]
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined]


class KeyAuth(AuthStrategy):
    """Offers each key once; remembers why one could not be used, for the one line that a person reads."""

    def __init__(self, hop: Hop) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._hop = hop
        self._notes: list[str] = []
        self._offered = 0

    def get_sources(self) -> Generator[InMemoryPrivateKey, None, None]:
        with contextlib.closing(_Agent()) as agent:
            if self._hop.agent is not None:
                try:
                    agent.connect(self._hop.agent)
                except (OSError, paramiko.SSHException) as error:
                    reason = error.strerror if isinstance(error, OSError) else None
                    self._notes.append(f"no SSH agent answers at {self._hop.agent}: {reason or error}")
            for key in self._keys(list(agent.get_keys())):
                yield InMemoryPrivateKey(self._hop.user, key)

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        with contextlib.closing(self.get_sources()) as sources:
            for source in sources:
                self._offered += 1
                try:
                    more = source.authenticate(transport)
                except paramiko.BadAuthenticationType as error:
                    raise self._failed(f"it allows {', '.join(error.allowed_types)} alone") from error
                except paramiko.AuthenticationException:
                    if not transport.is_active():
                        raise self._failed("it hung up, having seen too many keys") from None
                    continue
                if more:
                    raise self._failed(f"after the key it also wants: {', '.join(more)}")
                return AuthResult(strategy=self)
        raise self._failed(None)

    def _keys(self, in_agent: list[paramiko.AgentKey]) -> Iterator[paramiko.PKey]:
        """The given identities (by the agent's hand where it holds them), then the agent's others."""
        held = {key.asbytes(): key for key in in_agent}
        for path in self._hop.identities:
            public = _public_blob(path)
            if public is not None and public in held:
                yield held.pop(public)
                continue
            key = self._load(path)
            if key is not None:
                held.pop(key.asbytes(), None)
                yield key
        if not self._hop.identities_only:
            yield from held.values()

    def _load(self, path: Path) -> paramiko.PKey | None:
        try:
            key = paramiko.PKey.from_path(path)
            certificate = path.with_name(path.name + "-cert.pub")
            if certificate.exists():
                key.load_certificate(str(certificate))
            return key
        except FileNotFoundError:
            if self._hop.identities_given:
                self._notes.append(f"{path} does not exist")
        except (paramiko.PasswordRequiredException, TypeError):
            # cryptography says TypeError of an encrypted key without a passphrase
            self._notes.append(f"{path} is encrypted and no agent holds it: ssh-add {path}")
        except OSError as error:
            self._notes.append(f"{path}: {error.strerror}")
        except Exception as error:  # paramiko and cryptography each have a family of parse errors
            self._notes.append(f"{path} is not a key that can be read: {error}")
        return None

    def _failed(self, why: str | None) -> AuthenticationFailed:
        tried = f"{self._offered} key{'s' if self._offered != 1 else ''} offered"
        reasons = "; ".join([why] if why else []) + ("; " if why and self._notes else "") + "; ".join(self._notes)
        return AuthenticationFailed(
            f"{self._hop.label}: login refused ({tried})" + (f": {reasons}" if reasons else ""),
            advice="isolbench logs in by key alone, never by password: set `identity` in the inventory, or load the "
            f"key into an agent (ssh-add); to put yours on the target: ssh-copy-id {self._hop.ssh_words}",
        )


def _public_blob(path: Path) -> bytes | None:
    """What ``path.pub`` holds, so that an encrypted key can be found in the agent without being opened."""
    try:
        return base64.b64decode(path.with_name(path.name + ".pub").read_text("utf-8", "replace").split()[1])
    except (OSError, IndexError, ValueError):
        return None
