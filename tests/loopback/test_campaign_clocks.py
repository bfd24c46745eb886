# SPDX-License-Identifier: Apache-2.0
"""Targets whose clock stands in 1970, runs ahead by decades, or jumps at each look: measured all the same, and told."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .campaign_kit import Lab, complete, needs_root, spooled
from .conftest import Server

pytestmark = needs_root

#: Loaded into every program of the server's mount namespace: the time of day as /etc/clock says, a number of seconds
#: to add, or "jump": another one of these at each look.
SHIM = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long offset_s(void)
{
	static unsigned int random = 1;
	static char text[32];

	if (!text[0]) {
		FILE *file = fopen("/etc/clock", "r");

		if (!file || !fgets(text, sizeof(text), file))
			strcpy(text, "0");
		if (file)
			fclose(file);
	}
	random = random * 1103515245 + 12345;
	return strncmp(text, "jump", 4) ? atoll(text) : (random >> 2) - 500000000LL;
}

int clock_gettime(clockid_t id, struct timespec *at)
{
	int failed = (int)syscall(SYS_clock_gettime, id, at);

	if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		at->tv_sec += offset_s();
	return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *at)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (at)
		*at = now.tv_sec;
	return now.tv_sec;
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no cc to compile the clock with")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(folder / "shim.so"), str(folder / "shim.c")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "shim.so"


@pytest.fixture
def with_clock(start_sshd: Callable[..., Server], shim: Path, open_folder: Path) -> Callable[[str], Server]:
    """A server whose logins read the time of day through the shim."""

    def start(clock: str) -> Server:
        etc, library = open_folder / f"etc{clock}", open_folder / "clock.so"
        shutil.copy(shim, library)
        preload = f"cp -a /etc {etc}; echo {library} >{etc}/ld.so.preload; echo {clock} >{etc}/clock"
        return start_sshd(mounts=[preload, f"mount --bind {etc} /etc"])

    return start


def records(lab: Lab) -> list[dict[str, Any]]:
    """In the order in which they were asked for."""
    documents = [json.loads(path.read_text()) for path in lab.newest().path.glob("runs/box/*/run.json")]
    return sorted(documents, key=lambda document: int(document["repeat"]))


def skew_s(lab: Lab) -> float:
    lane = json.loads((lab.newest().path / "lanes/box.json").read_text())
    return float(lane["facts"]["clock"]["skew_ns"]) / 1e9


@pytest.mark.parametrize("offset_s", [-1_795_000_000, 4_000_000_000])  # 1970, and a century from now
def test_a_clock_that_is_off(
    offset_s: int, lab: Lab, with_clock: Callable[[str], Server], start_sshd: Callable[..., Server]
) -> None:
    server = with_clock(str(offset_s))
    lab.add(server)
    said = lab.cli("run", str(lab.campaign(repeat=3)))
    assert said.code == 0, said.err
    complete(lab.newest())
    found = records(lab)
    assert [run["sequence"] for run in found] == sorted({run["sequence"] for run in found})
    for run in found:  # the target's own word is kept as it is
        assert abs(run["started"]["realtime_ns"] / 1e9 - (time.time() + offset_s)) < 600
    assert abs(skew_s(lab) - offset_s) < 60
    doctor = lab.cli("doctor", "box", "--facts", "-i", str(lab.inventory))
    word = "behind" if offset_s < 0 else "ahead of"
    assert f"days {word} this controller" in " ".join(doctor.out.split())
    assert doctor.code == 0
    assert spooled() == []


def test_a_clock_that_jumps_at_each_look(lab: Lab, with_clock: Callable[[str], Server]) -> None:
    lab.add(with_clock("jump"))
    assert lab.cli("run", str(lab.campaign(repeat=4))).code == 0
    complete(lab.newest())
    found = records(lab)
    order = [run["sequence"] for run in found]
    assert sorted(order) == list(range(min(order), min(order) + 4))
    times_s = [run["started"]["realtime_ns"] / 1e9 for run in found]
    assert max(times_s) - min(times_s) > 86_400  # it did jump
    assert lab.cli("run", str(lab.campaign(repeat=1))).code == 0  # lease, agent and probe of before are taken up again
