# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM: the target is put back, the exit code says so, and resume continues. And readers that leave."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable

import pytest

from .campaign_kit import ROOT, Lab, complete, machine_state, measuring, spooled, tidy, wait_for
from .conftest import Server
from .proxy import Proxy

AXES = {"mode": ["fifo" if ROOT else "pinned"], "load": ["idle", "spin"]}


def end(process: subprocess.Popen[str], signum: int) -> tuple[int, list[str]]:
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    return process.returncode, [line for line in err.splitlines() if line.startswith("isolbench: ")]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", ["local", "box"])
def test_in_a_run(signum: signal.Signals, way: str, lab: Lab, sshd: Server) -> None:
    lab.add(sshd)
    before = machine_state()
    path = lab.campaign(targets=[way], axes=AXES, duration="60s", repeat=1)
    with lab.start("run", str(path)) as process:
        wait_for(measuring, "it measures")
        code, lines = end(process, signum)
    assert code == 128 + signum
    assert lines == ["isolbench: interrupted: 0 of 2 runs finished; targets were put back; resume continues"]
    assert machine_state() == before  # by now, not some time
    tidy(lab.newest())
    again = lab.execution(targets=[way], axes=AXES, repeat=1)  # nothing holds the target
    assert lab.carry_out(again).exit_code in (0, 4)


def test_what_was_finished_is_kept_and_the_rest_resumed(lab: Lab) -> None:
    path = lab.campaign(duration="300ms", repeat=8)
    with lab.start("run", str(path)) as process:
        wait_for(lambda: len(lab.events("run-stored")) >= 2, "two runs are finished")
        code, lines = end(process, signal.SIGINT)
    assert code == 130
    execution = lab.newest()
    kept = {each: each.stat().st_mtime_ns for each in execution.path.glob("runs/*/*/run.json")}
    assert 2 <= len(kept) < 8
    assert lines[0].startswith(f"isolbench: interrupted: {len(kept)} of 8 runs finished")
    assert spooled() == []
    said = lab.cli("resume", "short")
    assert said.code == 0, said.err
    complete(execution)
    assert {each: each.stat().st_mtime_ns for each in kept} == kept


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_one_ends_it_at_once(second: signal.Signals, lab: Lab, sshd: Server, proxy: Proxy) -> None:
    """The first one waits for a target that does not answer any more; it would for a minute."""
    lab.add(sshd, port=proxy.port)
    path = lab.campaign(duration="3s", repeat=1)
    with lab.start("run", str(path)) as process:
        wait_for(measuring, "it measures")
        proxy.freeze()
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        code, lines = end(process, second)
    assert code == 128 + second
    assert lines == [f"isolbench: interrupted by signal {int(second)}"]
    proxy.cut()
    proxy.thaw()
    said = lab.cli("resume", "short")
    assert said.code == 0, said.err
    complete(lab.newest())


def test_while_the_connection_is_gone_it_says_that_nothing_was_put_back(lab: Lab, sshd: Server, proxy: Proxy) -> None:
    lab.add(sshd, port=proxy.port, connect_timeout="1s")
    path = lab.campaign(duration="60s", repeat=1, retry={"infrastructure": 5})
    with lab.start("run", str(path)) as process:
        wait_for(measuring, "it measures")
        proxy.freeze()
        proxy.cut()
        wait_for(lambda: lab.events("connection-lost"), "the loss is seen")
        code, lines = end(process, signal.SIGTERM)
    assert code == 143
    assert lines[-1] == (
        "isolbench: interrupted: 0 of 1 runs finished; NOT put back: box (isolbench restore --cancel box); "
        "resume continues"
    )
    proxy.thaw()
    said = lab.cli("restore", "box", "--cancel")
    assert said.code == 0
    ended = said.out.splitlines()
    assert re.fullmatch(r"box: ended the batch of \S*short\S*, 1 run before its end", ended[0])
    assert lab.cli("restore", "box", "--cancel").out == "box: nothing to put back\n"
    assert measuring() == []


def test_while_the_connection_is_gone_the_target_is_called_once_more(lab: Lab, sshd: Server, proxy: Proxy) -> None:
    lab.add(sshd, port=proxy.port)
    path = lab.campaign(duration="60s", repeat=1, retry={"infrastructure": 5})
    with lab.start("run", str(path)) as process:
        wait_for(measuring, "it measures")
        proxy.cut()
        wait_for(lambda: lab.events("connection-lost"), "the loss is seen")
        code, lines = end(process, signal.SIGINT)
    assert code == 130
    assert lines == ["isolbench: interrupted: 0 of 1 runs finished; targets were put back; resume continues"]
    assert measuring() == []


def test_while_connecting(lab: Lab, sshd: Server, start_proxy: Callable[[int], Proxy]) -> None:
    lab.add(sshd, port=start_proxy(1).port)  # hangs up, as a server that sheds load does
    with lab.start("run", str(lab.campaign())) as process:
        wait_for(lambda: lab.events("waiting"), "it waits to knock again")
        code, lines = end(process, signal.SIGINT)
    assert code == 130
    assert "hung up before the login" in lines[0]
    assert "tries in" not in lines[0]  # it did not go on knocking
    assert lines[-1] == "isolbench: interrupted: 0 of 2 runs finished; targets were put back; resume continues"


@pytest.mark.parametrize("left", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_a_reader_that_left_changes_neither_the_measurement_nor_the_exit_code(left: tuple[str, ...], lab: Lab) -> None:
    budget = {"bench": "gap", "metric": "gap_ns", "quantile": "p99.99", "at_most": "1ns"}
    for name, more, code in (("good", {}, 0), ("over", {"budgets": [budget]}, 1)):
        reader, writer = os.pipe()
        os.close(reader)
        streams = {stream: writer if stream in left else subprocess.PIPE for stream in ("stdout", "stderr")}
        path = lab.campaign(name=name, **more)
        process = subprocess.Popen(lab.words("run", str(path)), cwd=lab.folder, stdin=subprocess.DEVNULL, **streams)
        os.close(writer)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert "BrokenPipe" not in str(err)
        complete(lab.newest())
