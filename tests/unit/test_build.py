# SPDX-License-Identifier: Apache-2.0
"""Building probes: the cache, the choice of a compiler, what is said without one. Compilers are mostly pretended."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from harness import build, toolchain
from harness.errors import BuildError, EnvironmentFault

NATIVE = build.native_arch()
OTHER = "aarch64" if NATIVE == "x86_64" else "x86_64"
HAS_ZIG = importlib.util.find_spec("ziglang") is not None

MACHINES = {"x86_64": 62, "aarch64": 183}


def elf(arch: str, *, static: bool = True) -> bytes:
    """As much of a program as the builder looks at."""
    header = bytearray(64 + 56)
    header[:7] = b"\x7fELF\x02\x01\x01"
    header[18:20] = MACHINES[arch].to_bytes(2, "little")
    header[32:40] = (64).to_bytes(8, "little")
    header[54:58] = (56).to_bytes(2, "little") + (1).to_bytes(2, "little")
    header[64:68] = (1 if static else 3).to_bytes(4, "little")
    return bytes(header)


class Bench:
    """A folder of sources, a cache, and a PATH with pretended compilers only."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.csrc, self.cache, self.bin = tmp_path / "csrc", tmp_path / "cache", tmp_path / "bin"
        for folder in (self.csrc / "core", self.csrc / "probes", self.bin):
            folder.mkdir(parents=True)
        (self.csrc / "core" / "a.c").write_text("int a;\n")
        (self.csrc / "core" / "a.h").write_text("extern int a;\n")
        (self.csrc / "probes" / "gap.c").write_text("int main(void) { return 0; }\n")
        for tool in ("sh", "cat", "chmod", "echo", "sleep"):
            found = shutil.which(tool)
            assert found
            (self.bin / tool).symlink_to(found)
        self.calls = tmp_path / "calls"
        self.calls.write_text("")
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.delenv("CC", raising=False)
        self.no_zig(monkeypatch)

    def no_zig(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *rest: None if name == "ziglang" else real(name, *rest)
        )

    def compiler(self, name: str, *, version: str = "1.0", output: bytes | None = None, fails: str = "") -> Path:
        """One that writes `output` whatever it is given, and notes each call; `fails` is a shell test on its words."""
        blob = self.bin / f"{name}.out"
        blob.write_bytes(elf(NATIVE) if output is None else output)
        path = self.bin / name
        path.write_text(
            f"""#!/bin/sh
case "$*" in *--version) echo "{name} {version}"; echo Copyright; exit 0;; esac
echo "{name} $*" >> {self.calls}
{fails or ":"}
while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done
sleep 0.05
cat {blob} > "$out"
chmod +x "$out"
"""
        )
        path.chmod(0o755)
        return path

    def compiled(self) -> list[str]:
        return [line.split()[0] for line in self.calls.read_text().splitlines()]

    def build(self, arch: str = NATIVE) -> build.Built:
        return build.build_probe("gap", arch, source=self.csrc, cache=self.cache)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return Bench(tmp_path, monkeypatch)


NO_STATIC = 'echo "/usr/bin/ld: cannot find -lc: No such file or directory" >&2; exit 1'

# --- the cache ---


def test_a_probe_is_built_once(bench):
    bench.compiler("cc")
    first = bench.build()
    assert bench.build() == first
    assert bench.compiled() == ["cc"]
    assert first.sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()
    assert (first.compiler, first.arch) == ("cc 1.0", NATIVE)
    assert first.path.stat().st_mode & stat.S_IXUSR
    assert first.path.parent == bench.cache
    assert not [path for path in bench.cache.iterdir() if path.name.startswith(".")]  # no scratch is left


@pytest.mark.parametrize("changed", ["core/a.c", "core/a.h", "probes/gap.c", "core/new.c", "probes/gap_loop.h"])
def test_a_changed_source_is_built_anew(bench, changed):
    bench.compiler("cc")
    bench.build()
    with (bench.csrc / changed).open("a") as file:
        file.write("/* changed */\n")
    bench.build()
    assert bench.compiled() == ["cc", "cc"]


def test_another_probe_changes_nothing(bench):
    bench.compiler("cc")
    bench.build()
    (bench.csrc / "probes" / "wake.c").write_text("int main(void) { return 1; }\n")
    bench.build()
    assert bench.compiled() == ["cc"]


def test_another_version_of_the_compiler_builds_anew(bench):
    bench.compiler("cc")
    bench.build()
    bench.compiler("cc", version="2.0")
    assert bench.build().compiler == "cc 2.0"
    assert bench.compiled() == ["cc", "cc"]


@pytest.mark.parametrize("damage", ["altered", "truncated", "removed", "not executable", "entry", "entry's type"])
def test_a_corrupted_entry_is_built_again(bench, damage):
    bench.compiler("cc")
    first = bench.build()
    (entry,) = bench.cache.glob("*.json")
    if damage == "altered":
        first.path.write_bytes(first.path.read_bytes()[:-1] + b"!")
    elif damage == "truncated":
        first.path.write_bytes(b"")
    elif damage == "removed":
        first.path.unlink()
    elif damage == "not executable":
        first.path.chmod(0o000)
        if first.path.stat().st_mode & 0o111:
            pytest.skip("this file system has no modes")
    elif damage == "entry":
        entry.write_text("{")
    else:
        entry.write_text('["not", "an", "object"]')
    again = bench.build()
    assert again == first
    assert hashlib.sha256(again.path.read_bytes()).hexdigest() == again.sha256
    assert bench.compiled() == ["cc", "cc"]


@pytest.mark.parametrize("file", ["../../bin/sh", "/bin/sh", "..", ""])
def test_an_entry_cannot_point_outside(bench, file):
    bench.compiler("cc")
    first = bench.build()
    (entry,) = bench.cache.glob("*.json")
    entry.write_text(json.dumps({"sha256": "0" * 64, "file": file}))
    assert bench.build() == first


def test_builders_at_the_same_time_build_once(bench):
    bench.compiler("cc")
    found, threads = [], [threading.Thread(target=lambda: found.append(bench.build())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert bench.compiled() == ["cc"]


def test_a_cache_that_cannot_be_written(bench, tmp_path):
    bench.compiler("cc")
    bench.cache.write_text("a file where a folder should be")
    with pytest.raises(BuildError, match="cannot write the build cache") as caught:
        bench.build()
    assert "XDG_CACHE_HOME" in caught.value.advice


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.cache_dir() == tmp_path / "isolbench" / "build"
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert build.cache_dir() == Path.home() / ".cache" / "isolbench" / "build"


# --- the choice ---


def test_cc_of_the_environment_comes_first(bench, monkeypatch):
    bench.compiler("cc")
    bench.compiler("mycc")
    monkeypatch.setenv("CC", "mycc -pipe")
    assert bench.build().compiler == "mycc 1.0"
    assert "mycc -pipe -O2" in bench.calls.read_text()


def test_musl_comes_before_glibc(bench):
    bench.compiler("cc")
    bench.compiler("musl-gcc", version="12.2")
    built = bench.build()
    assert built.compiler == "musl-gcc 12.2"
    assert bench.compiled() == ["musl-gcc"]
    assert "-idirafter /usr/include " in bench.calls.read_text()  # the kernel's headers, behind musl's own
    assert not any("/usr" in flag for flag in built.flags)


def test_a_wrapper_that_states_gccs_name_is_told_from_gcc(bench):
    bench.compiler("musl-gcc").write_text(bench.compiler("gcc", version="9").read_text())
    assert bench.build().compiler == "gcc 9 with musl"
    (bench.bin / "musl-gcc").unlink()
    assert bench.build().compiler == "gcc 9"
    assert bench.compiled() == ["gcc", "gcc"]


def test_cc_of_the_environment_comes_before_musl(bench, monkeypatch):
    bench.compiler("musl-gcc")
    bench.compiler("mycc")
    monkeypatch.setenv("CC", "mycc")
    assert bench.build().compiler == "mycc 1.0"


def test_musls_wrapper_is_known_by_its_path_too(bench, monkeypatch):
    monkeypatch.setenv("CC", str(bench.compiler("musl-gcc")))
    bench.build()
    assert "-idirafter /usr/include " in bench.calls.read_text()


def test_a_cross_compiler_with_musl_comes_first(bench):
    bench.compiler(f"{OTHER}-linux-gnu-gcc", output=elf(OTHER))
    bench.compiler(f"{OTHER}-linux-musl-gcc", output=elf(OTHER))
    assert bench.build(OTHER).compiler == f"{OTHER}-linux-musl-gcc 1.0"


def test_one_compiler_may_be_asked_for(bench):
    bench.compiler("cc")
    bench.compiler("musl-gcc")

    def build_with(compiler):
        return build.build_program(
            "probes/gap.c", NATIVE, source=bench.csrc, cache=bench.cache, compiler=compiler
        ).compiler

    assert build_with("cc") == "cc 1.0"
    with pytest.raises(BuildError, match="clang: not found"):
        build_with("clang")


def test_arguments_of_cc_are_part_of_the_key(bench, monkeypatch):
    bench.compiler("mycc")
    for value in ("mycc", "mycc -pipe", "mycc"):
        monkeypatch.setenv("CC", value)
        bench.build()
    assert bench.compiled() == ["mycc", "mycc"]


def test_one_that_cannot_link_statically_is_passed_over(bench):
    bench.compiler("cc", fails=NO_STATIC)
    bench.compiler("gcc", version="9")
    assert bench.build().compiler == "gcc 9"
    assert bench.compiled() == ["cc", "cc", "gcc"]  # the second call was the trial


def test_one_program_under_two_names_is_tried_once(bench):
    bench.compiler("gcc", fails=NO_STATIC)
    (bench.bin / "cc").symlink_to(bench.bin / "gcc")
    with pytest.raises(BuildError):
        bench.build()
    assert len(bench.compiled()) == 2


def test_output_for_another_machine_is_passed_over(bench):
    bench.compiler("cc", output=elf(OTHER))
    bench.compiler("gcc", output=elf(NATIVE, static=False))
    bench.compiler("clang", output=b"#!/bin/sh\n")
    with pytest.raises(BuildError) as caught:
        bench.build()
    for reason in ("cc: its output is for another machine", "gcc: its output is not static", "clang: its output is no"):
        assert reason in str(caught.value)


def test_a_cross_compiler_serves_the_other_architecture_only(bench):
    bench.compiler("cc")
    bench.compiler(f"{OTHER}-linux-gnu-gcc", output=elf(OTHER))
    assert bench.build(OTHER).compiler == f"{OTHER}-linux-gnu-gcc 1.0"
    assert bench.build(NATIVE).compiler == "cc 1.0"


def test_the_names_of_architectures(bench):
    bench.compiler("cc")
    bench.compiler(f"{OTHER}-linux-gnu-gcc", output=elf(OTHER))
    for alias, arch in (("amd64", "x86_64"), ("arm64", "aarch64")):
        assert bench.build(alias).arch == arch
    with pytest.raises(BuildError, match="riscv64"):
        bench.build("riscv64")


# --- what is said ---


def one_line(error: BuildError) -> str:
    assert isinstance(error, EnvironmentFault)
    assert error.exit_code == 3
    assert "\n" not in str(error)
    assert error.advice
    assert "\n" not in error.advice
    return f"{error}; {error.advice}"


def test_no_compiler_at_all(bench):
    with pytest.raises(BuildError) as caught:
        bench.build()
    text = one_line(caught.value)
    assert "pip install ziglang" in text
    assert "gcc" in text
    with pytest.raises(BuildError) as caught:
        bench.build(OTHER)
    assert f"gcc-{OTHER.replace('_', '-')}-linux-gnu" in one_line(caught.value)


def test_a_named_compiler_that_is_not_there(bench, monkeypatch):
    monkeypatch.setenv("CC", "nocc")
    with pytest.raises(BuildError, match="nocc: not found"):
        bench.build()


def test_a_fault_in_the_sources_is_not_blamed_on_the_compiler(bench):
    bench.compiler("cc", fails='case "$*" in *probes/gap.c*) echo "gap.c:1: error: odd" >&2; exit 1;; esac')
    bench.compiler("gcc")
    with pytest.raises(BuildError, match="does not compile") as caught:
        bench.build()
    assert "gap.c:1: error: odd" in one_line(caught.value)
    assert "gcc" not in bench.compiled()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "core/a.h:1:2: warning: an error, perhaps\nprobes/gap.c:7:3: error: odd; x\n",
            "probes/gap.c:7:3: error: odd; x",
        ),
        (
            "in function `main':\ngap.c:(.text+0x5): undefined reference to `gone'\ncollect2: error: ld returned 1\n",
            "gap.c:(.text+0x5): undefined reference to `gone'",
        ),
        ("ld.lld: error: undefined symbol: gone\n>>> referenced by gap.c\n", "ld.lld: error: undefined symbol: gone"),
        ("/usr/bin/ld: cannot find -lm\ncollect2: error: ld returned 1 exit status\n", "/usr/bin/ld: cannot find -lm"),
        ("collect2: error: ld returned 1 exit status\n", "collect2: error: ld returned 1 exit status"),
    ],
)
def test_of_what_a_compiler_says_the_line_that_says_most(tmp_path, said, told):
    (tmp_path / "said").write_text(said)
    assert toolchain.run(["sh", "-c", "cat said >&2; exit 1"], tmp_path) == told


@pytest.mark.parametrize("name", ["nonesuch", "../core/a", "", "gap.c"])
def test_a_probe_that_does_not_exist(bench, name):
    with pytest.raises(BuildError, match="no probe") as caught:
        build.build_probe(name, NATIVE, source=bench.csrc, cache=bench.cache)
    assert "gap" in one_line(caught.value)


# --- for real ---


def test_the_sources_are_found():
    assert (build.csrc_dir() / "probes" / "gap.c").is_file()
    assert "gap" in build.probes()


def real_builds():
    no_zig = pytest.mark.skipif(not HAS_ZIG, reason="ziglang is not installed")
    for name in ("cc", "musl-gcc"):
        yield pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"no {name}"))
    yield pytest.param("zig", marks=no_zig)


@pytest.mark.parametrize("kind", list(real_builds()))
def test_a_binary_is_reproducible_and_tells_nothing_of_the_machine(kind, tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    found = []
    for place in ("one", "a/longer/place"):
        source = tmp_path / place / "csrc"
        shutil.copytree(build.csrc_dir(), source)
        cache = tmp_path / place / "cache"
        found.append(build.build_program("probes/gap.c", NATIVE, source=source, cache=cache, compiler=kind))
    assert found[0].sha256 == found[1].sha256
    data = found[0].path.read_bytes()
    for secret in (tmp_path, build.csrc_dir(), Path(__file__).parent):
        assert str(secret).encode() not in data, secret
    done = subprocess.run([found[0].path, "--describe"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["probe"] == "gap"


@pytest.mark.parametrize("arch", build.ARCHES)
def test_probes_are_small(arch, monkeypatch):
    """Under 200 KB by every compiler with musl; by glibc's, whose empty program has 0.67 MB, under one MB."""
    monkeypatch.delenv("CC", raising=False)
    reasons = []
    found = list(toolchain.compilers(arch, reasons))
    if not found:
        pytest.skip(f"no compiler for {arch}: {'; '.join(reasons)}")
    for place, compiler in enumerate(found):
        for probe in build.probes() if not place else ["xwake"]:
            built = build.build_program(f"probes/{probe}.c", arch, compiler=compiler.name)
            assert built.path.stat().st_size < (200_000 if compiler.is_small else 1_000_000), (probe, compiler.name)
