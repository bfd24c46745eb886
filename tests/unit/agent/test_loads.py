# SPDX-License-Identifier: Apache-2.0
"""Loads: busy where they were put, all their time counted, gone afterwards whatever they do, nothing left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent import loads
from harness.agent.loads import memory, tools
from harness.agent.loads.base import ProcessLoad, program
from harness.agent.loads.keeper import PR_SET_CHILD_SUBREAPER
from harness.agent.loads.stress_ng import StressNg
from harness.agent.processes import (
    LOAD_MARKER,
    MARKER,
    carries,
    descendants,
    kill_family,
    kill_marked,
    marked,
    pids,
    read_stat,
    read_stats,
)
from harness.agent.spec import LoadSpec, SpecError
from harness.agent.system import AgentError, Tree

ROOT = Path(__file__).parents[3]
CPUS = sorted(os.sched_getaffinity(0))
CPU = CPUS[-1]
OWN = ("spin", "syscalls", "memory")
TOOLS = ("hackbench", "stress-ng")


def until(true: Callable[[], Any], what: str) -> Any:
    end_s = time.monotonic() + 60
    while True:
        value = true()
        if value:
            return value
        assert time.monotonic() < end_s, what
        time.sleep(0.01)


def alive(pid: int) -> bool:
    stat = read_stat(Tree(), pid)
    return stat is not None and stat.state != "Z"


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """Whatever becomes of a test: what it left running is killed, and told. Orphans come to us for as long."""
    subreaper = getattr(ctypes.CDLL(None), "prctl", lambda *_: None)
    before = set(read_stats(Tree()))
    subreaper(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def left() -> list[int]:
        stats = read_stats(Tree())
        return [pid for pid in descendants(stats, [os.getpid()]) - before if stats[pid].state != "Z"]

    yield
    end_s = time.monotonic() + 5
    while left() and time.monotonic() < end_s:  # those that were killed just now
        time.sleep(0.01)
    found = {pid: Tree().read_bytes(f"/proc/{pid}/cmdline") for pid in left()}
    while pids_left := left():
        for pid in pids_left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    subreaper(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    for pid, stat in read_stats(Tree()).items():
        if stat.parent == os.getpid() and stat.state == "Z" and pid not in before:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
    assert not found


@pytest.fixture
def start() -> Iterator[Callable[..., ProcessLoad]]:
    """``start(kind, *argv)`` → a load on one CPU, running. Stopped at the end, if it was not before."""
    made: list[ProcessLoad] = []

    def start(kind: str, *argv: str, cpus: list[int] | None = None) -> ProcessLoad:
        load = loads.make(LoadSpec("x", kind, list(argv)), cpus or [CPU])
        assert isinstance(load, ProcessLoad)
        made.append(load)
        load.start()
        return load

    yield start
    assert [load.stop() for load in made] == [[]] * len(made)


def script(text: str) -> list[str]:
    return ["/bin/sh", "-c", text]


def proof_of(load: ProcessLoad, enough_ns: int = 50_000_000) -> dict[str, Any]:
    """What the load says of itself when it has had some CPU time."""
    load.begin()
    until(lambda: load.end()["cpu_time_ns"] >= enough_ns, "it uses no CPU time")
    return load.end()


def have(kind: str) -> None:
    if kind in TOOLS and tools.find(Tree(), kind) is None:
        pytest.skip(f"{kind} (package {tools.PACKAGES[kind]}) is not installed here")


@pytest.mark.parametrize("kind", [*OWN, *TOOLS])
def test_it_is_busy_where_it_was_put_and_gone_when_stopped(kind: str, start: Callable[..., ProcessLoad]) -> None:
    have(kind)
    load = start(kind)
    proof = proof_of(load)
    assert (proof["name"], proof["kind"], proof["cpus"]) == ("x", kind, [CPU])
    assert proof["due_ns"] > 0
    assert proof["share"] == round(proof["cpu_time_ns"] / proof["due_ns"], 4)
    assert (proof["ended"], proof["strayed"]) == (None, [])
    if kind in TOOLS:
        assert proof["command"][0].endswith(kind)
        assert len(proof["tool_sha256"]) == 64
    members = load.family()
    assert members
    assert all(Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n" for pid in members if alive(pid))
    assert load.stop() == []
    assert not [pid for pid in members if alive(pid)]
    assert not [pid for pid in pids(Tree()) if carries(Tree(), pid, LOAD_MARKER, load.mark)]


def leftovers() -> set[str]:
    """Names that a load could leave: in the folders for files in memory, and the System V objects."""
    found = {f"{folder}/{name}" for folder in ("/dev/shm", "/dev/mqueue") for name in Tree().names(folder)}
    found |= {f"/tmp/{name}" for name in Tree().names("/tmp") if "stress" in name or "hackbench" in name}
    for kind in ("shm", "sem", "msg"):
        lines = (Tree().read(f"/proc/sysvipc/{kind}") or "").split("\n")[1:]
        found |= {f"{kind} {line.split()[1]}" for line in lines if line}
    return {name for name in found if "isolbench" not in name}  # other tests' own


@pytest.mark.parametrize("kind", TOOLS)
def test_tools_leave_nothing_behind_when_killed(kind: str, start: Callable[..., ProcessLoad]) -> None:
    have(kind)
    before = leftovers()
    load = start(kind)
    proof_of(load)
    kill_family(Tree(), [child.pid for child in load.children], load.mark)
    assert not any(map(alive, load.family()))
    assert leftovers() <= before


def test_a_tool_that_ends_is_started_again(start: Callable[..., ProcessLoad], monkeypatch: pytest.MonkeyPatch) -> None:
    have("hackbench")
    monkeypatch.setattr("harness.agent.loads.hackbench._LOOPS", 1)
    load = start("hackbench")

    def main() -> int | None:
        [keeper] = load.children
        return next((pid for pid, stat in load.family().items() if stat.parent == keeper.pid), None)

    first = until(main, "it did not start")
    until(lambda: main() not in (None, first), "it was not started again")
    assert load.ended() is None


def test_what_a_command_forks_off_is_counted_and_killed(start: Callable[..., ProcessLoad]) -> None:
    busy = f"exec {sys.executable} -S -c 'while True: pass'"
    forked = f'env -i setsid {script(busy)[0]} -c "{busy}" & exit 0'  # no session, no parent, no marker
    if not has_ctypes():
        pytest.skip("without ctypes an orphan without environment is nobody's")
    load = start("argv", *script(forked))
    proof = proof_of(load)
    assert (proof["ended"], proof["due_ns"]) == (None, None)
    members = load.family()
    [keeper] = load.children
    [orphan] = set(members) - {keeper.pid}
    assert members[orphan].session != keeper.pid
    assert members[orphan].parent == keeper.pid
    assert load.stop() == []
    assert not alive(orphan)


@pytest.mark.parametrize("last", ["exec sleep 1000", "exit 3", "kill -9 $$"])
def test_what_a_command_leaves_behind_dies_with_it_however_it_ends(
    last: str, start: Callable[..., ProcessLoad], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without environment, in a session of its own, deaf to SIGTERM: by the keeper alone it can be found."""
    if not has_ctypes():
        pytest.skip("without ctypes an orphan without environment is nobody's")
    monkeypatch.setattr("harness.agent.loads.base.GRACE_S", 0.2)
    stray = f'trap "" TERM; echo $$ >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 1000 & wait; sleep 1000'
    wait = f"while ! [ -e {tmp_path}/pid ]; do sleep 0.01; done"
    load = start("argv", *script(f"env -i setsid /bin/sh -c '{stray}' & {wait}; {last}"))
    until((tmp_path / "pid").exists, "it did not start")
    orphan = int((tmp_path / "pid").read_text())
    load.begin()
    if last.startswith("exec"):
        until(lambda: "sleep" in [Tree().read(f"/proc/{pid}/comm") for pid in load.family()], "it did not start")
    else:
        until(lambda: load.end()["ended"], "it did not end")
    assert load.stop() == []
    assert not alive(orphan)


def has_ctypes() -> bool:
    return subprocess.run([sys.executable, "-c", "import ctypes"], capture_output=True).returncode == 0


def test_without_ctypes_it_is_found_by_its_marker(
    start: Callable[..., ProcessLoad], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*words: str) -> list[str]:
        return [word.replace("import ctypes", "raise ImportError") for word in program(*words)]

    monkeypatch.setattr("harness.agent.loads.command.program", without)
    load = start("argv", *script("(setsid sleep 1000 &); exec sleep 1000"))
    members = until(lambda: len(load.family()) == 3 and list(load.family()), "it was not found")
    [keeper] = load.children
    assert [pid for pid, stat in load.family().items() if stat.session != keeper.pid]
    assert load.stop() == []
    assert not any(map(alive, members))


def test_the_keepers_own_time_is_not_the_loads(
    start: Callable[..., ProcessLoad], monkeypatch: pytest.MonkeyPatch
) -> None:
    def restless(*words: str) -> list[str]:
        return [word.replace("LOOK_S = 0.2", "LOOK_S = 0") for word in program(*words)]

    monkeypatch.setattr("harness.agent.loads.command.program", restless)
    load = start("argv", "/bin/sleep", "1000")
    [keeper] = load.children
    load.begin()
    until(lambda: load.family()[keeper.pid].own >= 20, "the keeper is idle")
    assert load.end()["cpu_time_ns"] == 0


def test_the_time_of_those_that_ended_counts(start: Callable[..., ProcessLoad]) -> None:
    count = f"exec {sys.executable} -S -c 'for _ in range(2000000): pass'"
    load = start("argv", *script(f'(setsid /bin/sh -c "{count}" &) ; exec sleep 1000'))
    load.begin()
    until(lambda: len(load.family()) == 2, "it did not end")  # the keeper, and sleep in the place of the shell
    assert load.end()["cpu_time_ns"] > 0


def test_who_ignores_sigterm_is_killed(start: Callable[..., ProcessLoad], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.agent.loads.base.GRACE_S", 0.05)
    load = start("argv", *script("trap '' TERM; while :; do sleep 1000 & wait; done"))
    until(lambda: len(load.family()) >= 3, "it did not start")
    members = list(load.family())
    assert load.stop() == []
    assert not [pid for pid in members if alive(pid)]


def test_sigterm_lets_it_tidy_up(start: Callable[..., ProcessLoad], tmp_path: Path) -> None:
    load = start("argv", *script(f"touch {tmp_path}/made; trap 'rm {tmp_path}/made; exit' TERM; sleep 1000 & wait"))
    until((tmp_path / "made").exists, "it did not start")
    assert load.stop() == []
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo what is this >&2; exit 3", "exit status 3: what is this"),
        ("exit 0", "exit status 0"),
        ("kill -9 $$", "killed by signal 9"),
    ],
)
def test_a_load_that_ended_early_says_how(text: str, said: str, start: Callable[..., ProcessLoad]) -> None:
    load = start("argv", *script(text))
    load.begin()
    until(lambda: load.end()["ended"], "it did not end")
    assert load.end()["ended"] == said


@pytest.mark.parametrize("kind", ["spin", "argv"])
def test_it_ends_when_its_parent_is_gone(kind: str) -> None:
    leaver = "env -i setsid sleep 1000" if has_ctypes() else "setsid sleep 1000"
    argv = ["/bin/sh", "-c", f"{leaver} & exec sleep 1000"] if kind == "argv" else []
    text = (
        "from harness.agent import loads; from harness.agent.spec import LoadSpec\n"
        f"load = loads.make(LoadSpec('x', {kind!r}, {argv!r}), [{CPU}]); load.start()\n"
        f"while len(load.family()) < {3 if argv else 1}: pass\n"
        "print(*load.family(), flush=True); import os; os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT)
    found = [int(pid) for pid in done.stdout.split()]
    assert found
    until(lambda: not any(map(alive, found)), "it lives on")


def test_a_process_that_leaves_its_cpus_is_named(start: Callable[..., ProcessLoad]) -> None:
    if len(CPUS) < 2 or shutil.which("taskset") is None:
        pytest.skip("one CPU only, or no taskset (util-linux)")
    load = start("argv", *script(f"exec taskset -c {CPUS[0]} sleep 1000"), cpus=[CPUS[1]])
    load.begin()
    [astray] = until(lambda: load.end()["strayed"], "nobody noticed")
    assert astray.startswith(("taskset (", "sleep ("))
    assert astray.endswith(f"): CPU {CPUS[0]}")


@pytest.mark.parametrize("kind", [kind for kind in loads.NAMES if kind != "idle"])
def test_a_load_needs_a_cpu(kind: str) -> None:
    spec = LoadSpec(kind, kind)
    assert "no CPU to run on but the measured one" in loads.needs(spec, {}, [])[0]
    with pytest.raises(AgentError, match="no CPU to run on"):
        loads.make(spec, []).start()


@pytest.mark.parametrize("kind", ["spin", "hackbench"])
def test_its_time_and_what_was_due_are_of_the_same_while(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes to look for strays and at all processes: a load that works half the time has half."""

    class Clock:
        now_ns = 10**9

        def monotonic_ns(self) -> int:
            return self.now_ns

    clock = Clock()
    monkeypatch.setattr("harness.agent.loads.base.time", clock)
    load = loads.make(LoadSpec("x", kind), [CPU])
    assert isinstance(load, ProcessLoad)

    def looked(_members: Any = None) -> Any:
        clock.now_ns += 3 * 10**9
        return {}

    monkeypatch.setattr(load, "family", looked)
    monkeypatch.setattr(load, "_astray", lambda _: looked() and [])
    monkeypatch.setattr(load, "cpu_time_ns", lambda _: clock.now_ns // 2)
    monkeypatch.setattr(load, "ended", lambda: None)
    monkeypatch.setattr(load, "_command", [], raising=False)
    monkeypatch.setattr(load, "_sha256", None, raising=False)
    monkeypatch.setattr("harness.agent.loads.base.cpu_ticks", lambda *_: {CPU: (clock.now_ns // 10**7, 0)})
    load.begin()
    clock.now_ns += 10**9
    assert load.end()["share"] == 0.5


def test_a_load_that_cannot_be_started() -> None:
    with pytest.raises(AgentError, match="cannot run /no/such: No such file"):
        loads.make(LoadSpec("x", "argv", ["/no/such"]), [CPU]).start()
    with pytest.raises(AgentError, match="on CPU 4095"):
        loads.make(LoadSpec("spin", "spin"), [4095]).start()
    with pytest.raises(SpecError, match="none of idle, spin, syscalls"):
        loads.make(LoadSpec("x", "dance"), [CPU])


def test_a_tool_that_was_removed_in_the_meantime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StressNg, "tool", "no-such-ng")
    with pytest.raises(AgentError, match="cannot run no-such-ng: No such file") as caught:
        loads.make(LoadSpec("x", "stress-ng"), [CPU]).start()
    assert caught.value.fault == "environment"


def test_idle_is_idle() -> None:
    load = loads.make(LoadSpec("idle"), [])
    load.start()
    load.begin()
    assert load.end()["share"] is None
    assert load.stop() == []
    assert loads.needs(LoadSpec("idle"), {}, []) == []


def test_all_loads_say_the_same_things(start: Callable[..., ProcessLoad]) -> None:
    idle, spin, argv = loads.make(LoadSpec("idle"), [CPU]), start("spin"), start("argv", "/bin/sleep", "1000")
    assert set(idle.end()) == set(spin.end()) == set(argv.end())


@pytest.mark.parametrize(("tool", "package"), tools.PACKAGES.items())
def test_a_tool_that_is_missing_is_known_before(tool: str, package: str, tmp_path: Path) -> None:
    spec = LoadSpec(tool, tool)
    [reason] = loads.needs(spec, {"tools": {tool: None}}, [0])
    assert f"install the package {package}" in reason
    assert loads.needs(spec, {"tools": {tool: f"/usr/bin/{tool}"}}, [0]) == []
    assert loads.needs(spec, {}, [0]) == []  # nobody has looked
    assert tools.show_all(Tree(str(tmp_path)))[tool] is None
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / f"usr/bin/{tool}").touch(0o644)
    assert tools.find(Tree(str(tmp_path)), tool) is None  # not executable
    (tmp_path / f"usr/bin/{tool}").chmod(0o755)
    assert tools.show_all(Tree(str(tmp_path)))[tool] == f"/usr/bin/{tool}"


@given(cache=st.integers(64, 1 << 20), available=st.integers(0, 1 << 30), processes=st.integers(1, 256))
def test_memory_outgrows_the_cache_and_never_swaps(cache: int, available: int, processes: int) -> None:
    size = memory.plan_kb(cache, available, processes)
    if size:
        assert size * processes >= 2 * cache
        assert size * processes * 4 <= available
        assert size <= 4 * cache
    facts = {"memory_available_kb": available, "cache_kb": cache}
    reasons = loads.needs(LoadSpec("memory", "memory"), facts, range(processes))
    assert bool(reasons) is not bool(size)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"}, 8000),
        (
            {
                "proc/meminfo": "MemAvailable: 8000 kB\n",
                "proc/self/cgroup": "0::/pod/box\n",
                "sys/fs/cgroup/pod/memory.max": "3145728",
                "sys/fs/cgroup/pod/memory.current": "1048576",
                "sys/fs/cgroup/pod/box/memory.max": "max",
                "sys/fs/cgroup/pod/box/memory.current": "1048576",
            },
            2048,
        ),
        (
            {
                "proc/meminfo": "MemAvailable: 8000 kB\n",
                "proc/self/cgroup": "4:memory:/box\n3:cpu:/\n",
                "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "4096",
                "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "9999",
            },
            0,
        ),
        (  # what it read fills it up
            {
                "proc/self/cgroup": "0::/pod",
                "sys/fs/cgroup/pod/memory.max": "4194304",
                "sys/fs/cgroup/pod/memory.current": "4194304",
                "sys/fs/cgroup/pod/memory.stat": "anon 1048576\nactive_file 1048576\ninactive_file 2097152\n",
            },
            2048,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/box\n",
                "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "4194304",
                "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "3145728",
                "sys/fs/cgroup/memory/box/memory.stat": "inactive_file 4096\ntotal_inactive_file 1048576\n",
            },
            2048,
        ),
    ],
)
def test_how_much_memory_is_free(files: dict[str, str], expected: int | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory.available_kb(Tree(str(tmp_path))) == expected


def test_how_large_the_cache_is(tmp_path: Path) -> None:
    assert memory.cache_kb(Tree(str(tmp_path))) is None
    for cpu, index, size in ((0, 0, "32K"), (0, 3, "1024K"), (9, 2, "2048K"), (10, 3, "4096K"), (1, 3, "9999K")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(f"{size}\n")
    (tmp_path / "sys/devices/system/cpu/cpufreq").mkdir()
    assert memory.cache_kb(Tree(str(tmp_path))) == 4096  # of the first and the last CPU


def test_all_that_carry_the_marker_are_killed_and_nobody_else() -> None:
    marker = os.urandom(8).hex()
    text = "setsid sleep 1000 & env -i sleep 1000 & exec sleep 1000"
    environment = {**os.environ, MARKER: marker}
    child = subprocess.Popen(["/bin/sh", "-c", text], env=environment)
    other = subprocess.Popen(["sleep", "1000"], env={**os.environ, MARKER: marker + "x"})
    try:
        until(lambda: len(marked(Tree(), marker, spare=frozenset())) == 3, "they did not start")
        killed = kill_marked(marker, spare=frozenset())
        assert child.pid in killed
        assert len(killed) == 3
        assert other.poll() is None
        assert marked(Tree(), marker, spare=frozenset()) == []
    finally:
        for process in (child, other):
            process.kill()
            process.wait()
