# SPDX-License-Identifier: Apache-2.0
"""Every C program with every compiler there is: no warning; clean under the sanitisers; the other architecture too."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from harness import build, toolchain
from harness.errors import BuildError

CSRC = build.csrc_dir()
MAINS = sorted(
    path.relative_to(CSRC).as_posix() for folder in ("probes", "bench", "tests") for path in CSRC.glob(f"{folder}/*.c")
)
STRICT = (
    "-std=c11", "-D_GNU_SOURCE", "-pthread", "-Wall", "-Wextra", "-Wshadow", "-Wconversion",
    "-Wmissing-prototypes", "-Werror",
)  # fmt: skip
OTHER = "aarch64" if build.native_arch() == "x86_64" else "x86_64"


def compilers():
    kernel = ["-idirafter", "/usr/include", "-idirafter", f"/usr/include/{build.native_arch()}-linux-gnu"]
    for argv in (["gcc"], ["musl-gcc", *kernel], [f"{OTHER}-linux-gnu-gcc"]):
        missing = pytest.mark.skipif(not shutil.which(argv[0]), reason=f"no {argv[0]}")
        yield pytest.param(argv, id=argv[0], marks=missing)
    no_zig = pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
    for arch in build.ARCHES:
        argv = [sys.executable, "-m", "ziglang", "cc", "-target", f"{arch}-linux-musl"]
        yield pytest.param(argv, id=f"zig-{arch}", marks=no_zig)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """``compiled(compiler, flags, main)``: the program, its core compiled once for each compiler and its flags, and not
    one warning."""

    def call(argv, place):
        done = subprocess.run(argv, cwd=place, capture_output=True, text=True, timeout=280, check=False)
        if "cannot find" in done.stderr and "san" in done.stderr:
            pytest.skip("gcc without its sanitisers' libraries")
        assert (done.returncode, done.stderr) == (0, "")

    @functools.cache
    def objects(compiler, flags):
        place = tmp_path_factory.mktemp("core")
        sources = sorted(map(str, CSRC.glob("core/*.c")))
        call([*compiler, *STRICT, *flags, f"-I{CSRC}", "-c", *sources], place)
        return sorted(map(str, place.glob("*.o")))

    @functools.cache
    def program(compiler, flags, main, link=()):
        place = tmp_path_factory.mktemp("program")
        sources = [*objects(compiler, flags), str(CSRC / main)]
        call([*compiler, *STRICT, *flags, *link, f"-I{CSRC}", *sources, "-o", "program", "-lm"], place)
        return place / "program"

    return program


@pytest.mark.parametrize("compiler", list(compilers()))
@pytest.mark.parametrize("main", MAINS)
def test_no_warning(compiled, compiler, main):
    assert compiled(tuple(compiler), ("-O2",), main, link=("-static",)).is_file()


def test_each_header_compiles_alone(tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    for header in sorted(CSRC.glob("*/*.h")):
        unit = tmp_path / "unit.c"
        unit.write_text(f'#include "{header.relative_to(CSRC).as_posix()}"\n')
        argv = ["gcc", "-O2", *STRICT, "-Wno-unused-function", "-I.", "-c", str(unit), "-o", str(tmp_path / "unit.o")]
        done = subprocess.run(argv, cwd=CSRC, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), header


def test_each_source_opens_with_its_licence():
    for path in sorted([*CSRC.rglob("*.c"), *CSRC.rglob("*.h")]):
        assert path.read_text().startswith("/* SPDX-License-Identifier: Apache-2.0 */\n"), path


# --- sanitisers ---


@pytest.fixture
def sanitised(compiled):
    """A function from a main file to its program under ASan and UBSan, which cannot be static."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    checks = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
    return lambda main: compiled(("gcc",), checks, main)


def test_gap_under_sanitisers(sanitised, tmp_path):
    probe = sanitised("probes/gap.c")
    for extra in ([], ["--digits", "3", "--ring", "2", "--threshold", "50ns"], ["--threshold", "10s"], ["--cpu", "0"],
                  ["--attribution", "perf", "--threshold", "300ns"],
                  ["--attribution", "perf", "--cpu", "0", "--attribution-ring", "16"]):  # fmt: skip
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        argv = [str(probe), "--duration", "100ms", *extra, "--out", str(out)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "Sanitizer" not in done.stderr
        assert "runtime error" not in done.stderr
        assert json.loads((out / "result.json").read_text())["probe"] == "gap"
    for argv in (["--describe"], ["--help"], ["--version"]):
        done = subprocess.run([str(probe), *argv], capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")


MORE = [
    ("wake", ["--method", "timerfd", "--digits", "3", "--ring", "2", "--threshold", "100ns", "--attribution", "perf"]),
    ("xwake", ["--method", "eventfd", "--ring", "2", "--threshold", "100ns", "--attribution", "perf"]),
    ("work", ["--buffer-bytes", "128", "--digits", "2", "--steps", "3"]),
    ("work", ["--excess", "100ns", "--ring", "2", "--attribution", "perf"]),
    ("sense", ["--distance", "1ms", "--ring", "2", "--threshold", "50ns"]),
]


@pytest.mark.parametrize(("name", "extra"), [*((name, []) for name in build.probes()), *MORE])
def test_every_probe_under_sanitisers(sanitised, tmp_path, name, extra):
    if name in ("xwake", "sense") and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU only")
    cpu = str(max(os.sched_getaffinity(0)))
    probe = sanitised(f"probes/{name}.c")
    for argv in (["--out", str(tmp_path)], []):
        call = [str(probe), "--cpu", cpu, "--duration", "100ms", *extra, *argv]
        done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "result.json").read_text())["probe"] == name


RACES = [
    ("xwake", ["--method", "futex"]),
    ("xwake", ["--method", "eventfd"]),
    ("sense", ["--distance", "1ms"]),
]


@pytest.mark.parametrize(("name", "extra"), RACES)
def test_threads_do_not_race(compiled, name, extra):
    if not shutil.which("gcc") or not shutil.which("setarch"):
        pytest.skip("no gcc, or no setarch (Debian: util-linux)")
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU only")
    program = compiled(("gcc",), ("-O1", "-g", "-fsanitize=thread"), f"probes/{name}.c")
    # Without address randomisation: older ones find no room for their shadow where the kernel uses more bits of it.
    argv = ["setarch", "-R", str(program), "--cpu", str(max(os.sched_getaffinity(0))), "--duration", "300ms"]
    done = subprocess.run([*argv, *extra], capture_output=True, text=True, timeout=120, check=False)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("this kernel's memory layout is beyond this ThreadSanitizer")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["feed", "1000000000", "1000", "4", "2"], "100 110 5000 4000 20000 40000 90000 18000000000000 18000000000010"),
        (["record", "3"], "0 1 2 255 256 2047 2048 9999999999 10000000000 10000000001 18446744073709551615"),
        (["index", "2"], "0 255 256 10000000000"),
        (["encode", "3"], "0 1 300 4611686018427387903 10000000000 7"),
        (["duration"], "9223372036854775807ns\n99999999999999999999h\n1.99999999999999999999s\n2562047.5h\n\n.\n"),
        (["poisson"], "0 1 65536 1000000 1000001 18446744073709551615"),
        (["granularity"], "25 26 51 52 78 104 18446744073709551615"),
        (["json"], '\x01"\\\xff\n'),
        (["double"], "1e308 -0.0 5e-324 inf nan 0.1"),
        (["mask"], "0 1 63 64 8191"),
        (["convert", "1000000"], "0 1 9223372036854775807"),
        (["periods", "100", "1000"], "s 100\nm 350\ns 9223372036854775807\n"),
        (["list", "0-3,8,99999999999999999999"], "0 4 8 2147483647"),
        (["timer", "0"], ""),
        (["timer", "8000"], ""),
        (["offset", "-7"], ""),
        (["small", "10", "1000"], "-50 50 20 0"),
    ],
)
def test_the_parts_under_sanitisers(sanitised, argv, text):
    tool = sanitised("tests/selftest.c")
    done = subprocess.run([str(tool), *argv], input=text.encode("latin-1"), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


EVENTS = "raw_syscalls/sys_enter=1", "irq/irq_handler_entry=2", "sched/sched_switch=3", "software/page_fault=4"


def test_attribution_under_sanitisers(sanitised):
    """Whatever bytes a ring has, and whatever the events are: nothing beyond them is touched."""
    tool = str(sanitised("tests/tracetest.c"))
    golden = Path(__file__).parents[1] / "golden"
    ring, random = bytearray((golden / "trace-ring.bin").read_bytes()), Random(5)
    for _ in range(40):
        argv = [
            tool,
            "decode",
            str(golden / "trace"),
            str(len(ring)),
            "36504",
            "28672",
            "1",
            *EVENTS,
            "irq/softirq_entry=1497",
        ]
        done = subprocess.run(argv, input=bytes(ring), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        for _ in range(8):
            ring[random.randrange(len(ring))] = random.randrange(256)
    for name in ("sched/sched_switch", "irq/irq_handler_entry"):
        text = (golden / "trace" / "events" / name / "format").read_bytes()
        for end in range(0, len(text), 7):
            argv = [tool, "format", "name", "next_comm", "common_pid"]
            done = subprocess.run(argv, input=text[:end], capture_output=True, check=False)
            assert (done.returncode, done.stderr) == (0, b"")
    lines = [f"event {at} {source.split('=')[0]} {at % 2} {random.getrandbits(63)} {random.getrandbits(63)} {'x' * 40}"
             for at in range(0, 90_000, 10) for source in (EVENTS[at % 4],)]  # fmt: skip
    lines += ["before 100", *(f"gap {at} 90" for at in range(100, 90_000, 100)), "until 1", "after"]
    argv = [tool, "match", "1", "2596145833", "10", "5", "/proc/kallsyms", "/dev/null"]
    done = subprocess.run(argv, input="\n".join(lines).encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["attribution"]["gaps"] == 899


# --- the other architecture ---


def emulator_of(arch):
    found = shutil.which(f"qemu-{arch}-static") or shutil.which(f"qemu-{arch}")
    if not found:
        pytest.skip(f"no qemu-{arch} (Debian: qemu-user)")
    return found


@pytest.fixture(scope="module")
def emulate():
    """A function from a main file to the command that runs it on the other architecture."""
    emulator = emulator_of(OTHER)

    def command(main):
        try:
            return [emulator, str(build.build_program(main, OTHER).path)]
        except BuildError as error:
            pytest.skip(f"{error} ({error.advice})")

    return command


def test_the_loop_runs_in_an_emulator(emulate):
    done = subprocess.run(
        [*emulate("tests/selftest.c"), "feed", "1000000000", "1000", "4", "2"],
        input="100 110 5000 5010 4000 9000 9010", capture_output=True, text=True, check=True,
    )  # fmt: skip
    got = json.loads(done.stdout)
    assert got["ring"] == [[110, 4890], [4000, 5000]]
    assert got["negative"] == 1


@pytest.mark.parametrize("name", build.probes())
def test_every_probe_runs_in_an_emulator(emulate, name, tmp_path):
    if name in ("xwake", "sense") and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU only")
    argv = [*emulate(f"probes/{name}.c"), "--cpu", str(max(os.sched_getaffinity(0))), "--duration", "200ms"]
    done = subprocess.run([*argv, "--out", str(tmp_path)], capture_output=True, text=True, timeout=120, check=False)
    if name == "xwake" and OTHER == "x86_64" and "rate follows" in done.stderr:
        pytest.skip("the emulated TSC is not invariant")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["probe"], result["arch"]) == (name, OTHER)
    [told] = result["histograms"].values()
    detail = result.get("detail", {})
    left_out = detail.get("not_asleep", 0)
    assert result["loop"]["iterations"] == told["recorded"] + told["overflow"] + told["negative"] + left_out > 0
    if "periods" in detail:
        assert result["loop"]["iterations"] + told["missed"] == detail["periods"] == 200


def test_an_emulator_has_no_events_and_it_is_said(emulate, tmp_path):
    argv = [*emulate("probes/gap.c"), "--duration", "200ms", "--attribution", "perf", "--out", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads((tmp_path / "result.json").read_text())["attribution"]
    assert told["level"] == "nothing"
    assert "Function not implemented" in told["reason"]


# --- each compiler ---


@pytest.mark.parametrize("arch", build.ARCHES)
def test_what_each_compiler_makes_measures(arch, tmp_path, monkeypatch):
    """Not only the one that comes first here."""
    monkeypatch.delenv("CC", raising=False)
    emulator = [] if arch == build.native_arch() else [emulator_of(arch)]
    reasons = []
    found = list(toolchain.compilers(arch, reasons))
    if not found:
        pytest.skip(f"no compiler for {arch}: {'; '.join(reasons)}")
    for compiler in found:
        probe = build.build_program("probes/wake.c", arch, compiler=compiler.name).path
        out = tmp_path / compiler.name
        out.mkdir()
        argv = [*emulator, str(probe), "--duration", "50ms", "--out", str(out)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, ""), compiler.name
        result = json.loads((out / "result.json").read_text())
        assert result["loop"]["iterations"] + result["histograms"]["wake_ns"]["missed"] == 50
        assert ("musl" in result["compiler"]) == compiler.is_small


# --- the speed bench ---


def test_the_speed_bench_reports(tmp_path):
    """Its figures are for a quiet machine and a person; here only that it measures all it says."""
    bench = build.build_program("bench/gap_speed.c", build.native_arch()).path
    argv = [str(bench), "--blocks", "31", "--block-ms", "1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    first, second = done.stdout.splitlines()
    report = json.loads(first)
    assert report["blocks"] == 31
    assert set(report["median_ns"]) == {"bare", "gap", "divided", "sense"}
    assert all(value > 0 for value in report["median_ns"].values())
    assert report["ratio"] == pytest.approx(report["median_ns"]["gap"] / report["median_ns"]["bare"])
    assert report["sense_ratio"] == pytest.approx(report["median_ns"]["sense"] / report["median_ns"]["bare"])
    assert report["within"] == (report["ratio"] <= report["bar"] == 1.1)
    assert re.search(r"gap/bare \d+\.\d+ \(bar 1\.10", second)
    done = subprocess.run([*argv, "--attribution"], capture_output=True, text=True, timeout=120, check=True)
    report = json.loads(done.stdout.splitlines()[0])
    assert report["traced_ratio"] == pytest.approx(report["median_ns"]["traced"] / report["median_ns"]["bare"])
    assert report["level"] in ("tracepoints", "software", "nothing")
    assert subprocess.run([*argv[:1], "--blocks", "30"], capture_output=True, check=False).returncode == 2
