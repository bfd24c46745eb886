# SPDX-License-Identifier: Apache-2.0
"""Where a name leads: asked at each connect, since DHCP may have moved the machine; IPv6 and IPv4, each in its time."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.config.targets import Target
from harness.deadline import Deadline
from harness.errors import Unreachable
from harness.target.ssh import Backoff, SshTransport

from .campaign_kit import Lab, complete, needs_root, once, own_namespaces
from .conftest import Server
from .proxy import Proxy

pytestmark = needs_root

NAME = "box.dhcp.test"


@pytest.fixture
def names(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """``names("127.0.0.2", "::1")``: these are the addresses of :data:`NAME` from now on, for us alone."""
    hosts = tmp_path / "hosts"

    def lead(*addresses: str) -> None:
        hosts.write_text("".join(f"{address} {NAME}\n" for address in addresses))

    lead()
    with own_namespaces():
        subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
        yield lead


def server_of(transport: SshTransport) -> str:
    """The address at which the server was reached, as it says itself."""
    done = transport.run(["/bin/sh", "-c", "echo $SSH_CONNECTION"], deadline=Deadline.after(20))
    return done.stdout.decode().split()[2]


def reach(target: Target, deadline_s: float = 20.0) -> str:
    with contextlib.closing(SshTransport.connect(target, Deadline.after(deadline_s), Backoff(tries=1))) as transport:
        return server_of(transport)


@pytest.fixture
def everywhere(names: Callable[..., None], start_sshd: Callable[..., Server]) -> Server:
    """A server that answers at every address of the loopback, IPv6 too."""
    server = start_sshd("ListenAddress [::1]:2022", "ListenAddress 127.0.0.1:2022", "ListenAddress 127.0.0.2:2022")
    server.port = 2022
    return server


def test_the_name_is_asked_at_each_connect(
    names: Callable[..., None], everywhere: Server, sshd_target: Callable[..., Target]
) -> None:
    target = sshd_target(everywhere, address=NAME)
    for address in ("127.0.0.1", "127.0.0.2", "::1", "127.0.0.1"):
        names(address)
        assert reach(target) == address
    names()
    with pytest.raises(Unreachable, match=f"{NAME}: its name cannot be resolved"):
        reach(target)


def test_an_address_where_nobody_listens_is_passed_over(
    names: Callable[..., None], everywhere: Server, sshd_target: Callable[..., Target]
) -> None:
    names("127.0.0.3", "127.0.0.2")
    assert reach(sshd_target(everywhere, address=NAME)) == "127.0.0.2"
    names("127.0.0.3", "127.0.0.4")
    with pytest.raises(Unreachable, match=f"{NAME}:2022: Connection refused$"):
        reach(sshd_target(everywhere, address=NAME))


def test_an_address_that_swallows_everything_leaves_time_for_the_next(
    names: Callable[..., None], everywhere: Server, sshd_target: Callable[..., Target]
) -> None:
    """IPv6 that is announced and leads nowhere: of the time that there is, it takes its share."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(socket.create_server(("127.0.0.9", 2022), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        names("127.0.0.9", "127.0.0.2")
        assert reach(sshd_target(everywhere, address=NAME), deadline_s=4.0) == "127.0.0.2"


def test_a_machine_that_moved_in_the_middle_of_a_campaign_is_found_again(
    names: Callable[..., None],
    start_sshd: Callable[..., Server],
    start_proxy: Callable[..., Proxy],
    lab: Lab,
    no_waiting: None,
) -> None:
    """Its lease ran out: the old address is silent, the name leads to another."""
    server = start_sshd()
    old = start_proxy(server.port)
    new = start_proxy(server.port, old.port, "127.0.0.2")
    names("127.0.0.1")
    lab.add(server, address=NAME, port=old.port)
    execution = lab.execution(retry={"infrastructure": 1})

    def move() -> None:
        names("127.0.0.2")
        old.cut()

    outcome = lab.carry_out(execution, once(move, "run-stored"))
    assert outcome.exit_code == 0, outcome.sentence
    complete(execution)
    assert (old.connections, new.connections) == (1, 1)
