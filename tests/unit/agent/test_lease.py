# SPDX-License-Identifier: Apache-2.0
"""One owner at a time; tokens only grow; age by CLOCK_BOOTTIME."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agent.lease import Busy, Lease
from harness.agent.system import AgentError

ME = {"id": "nightly-local", "who": "me@here 1"}
YOU = {"id": "other-lane", "who": "you@there 2"}


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> int:
        return int(self.s * 1e9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease_of(path: Path, clock: Clock, boot: str = "a") -> Lease:
    return Lease(str(path), boot, clock)


def test_the_other_gets_busy_with_who_and_for_how_long(tmp_path: Path, clock: Clock) -> None:
    lease_of(tmp_path, clock).acquire(ME, 100)
    clock.s += 30
    with pytest.raises(Busy) as caught:
        lease_of(tmp_path, clock).acquire(YOU, 100)
    assert caught.value.body == {"owner": ME, "age_s": 30.0, "expires_s": 70.0}


def test_the_same_owner_takes_over_and_the_old_token_dies(tmp_path: Path, clock: Clock) -> None:
    lease = lease_of(tmp_path, clock)
    first = lease.acquire(ME, 100)["token"]
    second = lease.acquire(ME, 100)["token"]
    assert second == first + 1
    lease.check(second)
    for act in (lease.check, lease.release, lambda token: lease.renew(token, 9)):
        with pytest.raises(AgentError) as caught:
            act(first)
        assert caught.value.kind == "stale-token"


def test_another_owner_after_expiry_and_after_release(tmp_path: Path, clock: Clock) -> None:
    lease = lease_of(tmp_path, clock)
    lease.acquire(ME, 100)
    clock.s += 100
    assert lease.current() is None
    token = lease.acquire(YOU, 100)["token"]
    assert token == 2
    lease.release(token)
    assert lease.current() is None
    assert lease.acquire(ME, 100)["token"] == 3


def test_a_running_batch_holds_it_beyond_its_time(tmp_path: Path, clock: Clock) -> None:
    lease = lease_of(tmp_path, clock)
    lease.acquire(ME, 1)
    clock.s += 50
    with pytest.raises(Busy) as caught:
        lease.acquire(YOU, 1, in_use=True)
    assert caught.value.body["expires_s"] == 0
    lease.acquire(ME, 1, in_use=True)


def test_renewing_counts_anew(tmp_path: Path, clock: Clock) -> None:
    lease = lease_of(tmp_path, clock)
    token = lease.acquire(ME, 10)["token"]
    clock.s += 9
    lease.renew(token, 10)
    clock.s += 9
    current = lease.current()
    assert current is not None
    assert current["expires_s"] == 1.0


def test_it_survives_a_reboot_whose_clock_starts_again(tmp_path: Path, clock: Clock) -> None:
    lease_of(tmp_path, clock).acquire(ME, 100)
    clock.s = 20
    with pytest.raises(Busy):
        lease_of(tmp_path, clock, boot="b").acquire(YOU, 100)
    clock.s = 101
    assert lease_of(tmp_path, clock, boot="b").acquire(YOU, 100)["token"] == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": "x", "owner": {}}', "\0"])
def test_a_damaged_file_is_nobodys_and_no_token_comes_again(tmp_path: Path, clock: Clock, text: str) -> None:
    lease = lease_of(tmp_path, clock)
    old = lease.acquire(ME, 100)["token"]
    (tmp_path / "lease.json").write_text(text)
    assert lease.current() is None
    assert lease.acquire(YOU, 100)["token"] > old + 1000
