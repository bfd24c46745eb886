# SPDX-License-Identifier: Apache-2.0
"""From csrc to static probe binaries, compiled on first use and cached.

A cache entry is named by what went into it: the sources, the compiler's identity, the flags and the architecture. The
binary itself is named by its own hash, so that two builders that race can only ever agree or leave both; an entry whose
binary is missing or altered is built again.

Which compilers there are, and in which order they are tried, says :mod:`harness.toolchain`. One that cannot link
statically, or whose output is for the wrong machine, is passed over with its reason.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import Bug, BuildError
from harness.toolchain import ARCHES, Compiler, canonical, compilers, native_arch, run, what_to_install

__all__ = [
    "ARCHES",
    "Built",
    "build_probe",
    "build_program",
    "cache_dir",
    "cached_probe",
    "csrc_dir",
    "native_arch",
    "probes",
]

_MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine
_PT_INTERP = 3

# No -Werror: warnings of a compiler we have never seen must not keep a lab from measuring. The tests compile with it.
_FLAGS = (
    "-O2",
    "-std=c11",
    "-D_GNU_SOURCE",
    "-pthread",
    "-static",
    "-g0",
    "-fno-ident",
    "-ffunction-sections",
    "-fdata-sections",
    "-Wl,--gc-sections",
    "-Wl,--build-id=none",
    "-s",
)
_CACHE_FORMAT = "1"  # part of every key; history: 1, the first


@dataclass(frozen=True)
class Built:
    """A probe binary, ready to be uploaded. ``compiler`` is its identity as it states it; ``flags`` leave out paths."""

    path: Path
    sha256: str
    compiler: str
    flags: tuple[str, ...]
    arch: str


def csrc_dir() -> Path:
    """The C sources: beside a checkout's ``harness``, or packaged as data within it."""
    here = Path(__file__).resolve().parent
    for folder in (here.parent / "csrc", here / "_data" / "csrc"):
        if (folder / "core").is_dir():
            return folder
    raise BuildError(
        f"no C sources: neither {here.parent / 'csrc'} nor {here / '_data' / 'csrc'} exists",
        advice="reinstall isolbench, or work from a checkout",
    )


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/isolbench/build``; a relative one is ignored, as its specification says."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "isolbench" / "build"


def probes(source: Path | None = None) -> list[str]:
    """The names of all probes there are sources for."""
    return sorted(path.stem for path in ((source or csrc_dir()) / "probes").glob("*.c"))


def build_probe(name: str, arch: str, *, source: Path | None = None, cache: Path | None = None) -> Built:
    """The binary of a probe for an architecture: from the cache, or compiled now.

    ``source`` is a csrc folder, ``cache`` the folder of the cache; both have their defaults. Raises
    :class:`~harness.errors.BuildError` with one line that says what is missing.
    """
    folder = source or csrc_dir()
    if not name.isidentifier() or not (folder / "probes" / f"{name}.c").is_file():
        known = ", ".join(probes(folder)) or "none"
        raise BuildError(f"there is no probe {name!r}", advice=f"probes in {folder / 'probes'}: {known}")
    return build_program(f"probes/{name}.c", arch, source=folder, cache=cache)


def cached_probe(name: str, arch: str, *, source: Path | None = None, cache: Path | None = None) -> Built | None:
    """What :func:`build_probe` would give without compiling anything; None where it would have to."""
    folder = source or csrc_dir()
    if name not in probes(folder) or canonical(arch) not in ARCHES:
        return None
    digest = _source_digest(folder, _files(folder, folder / "probes" / f"{name}.c"))
    for compiler in compilers(canonical(arch), []):
        flags = (*_FLAGS, *compiler.family_flags)
        key = _key(name, canonical(arch), digest, compiler, flags)
        if built := _cached(cache or cache_dir(), key, compiler.identity, flags, canonical(arch)):
            return built
    return None


def build_program(
    main: str, arch: str, *, source: Path | None = None, cache: Path | None = None, compiler: str | None = None
) -> Built:
    """Any program of csrc, by its main file: ``bench/gap_speed.c``, ``tests/selftest.c``. As :func:`build_probe`.

    ``compiler`` is the name of the only one to use, of :func:`harness.toolchain.compilers`.
    """
    arch = canonical(arch)
    if arch not in ARCHES:
        raise BuildError(f"probes cannot be built for {arch}", advice=f"supported: {', '.join(ARCHES)}")
    folder = source or csrc_dir()
    path = folder / main
    if not path.is_file():
        raise BuildError(f"there is no source {path}", advice="name a C file within csrc")
    return _build(path.stem, arch, folder, _files(folder, path), cache or cache_dir(), compiler)


def _files(folder: Path, main: Path) -> list[Path]:
    """All that a program is made of, headers included."""
    return [*sorted((folder / "core").glob("*.c")), main, *folder.glob("core/*.h"), *folder.glob("probes/*.h")]


def _build(name: str, arch: str, folder: Path, files: list[Path], cache: Path, only: str | None) -> Built:
    digest = _source_digest(folder, files)
    sources = [path for path in files if path.suffix == ".c"]
    reasons: list[str] = []
    for compiler in compilers(arch, reasons):
        if only not in (None, compiler.name):
            continue
        flags = (*_FLAGS, *compiler.family_flags)
        key = _key(name, arch, digest, compiler, flags)
        built = _cached(cache, key, compiler.identity, flags, arch)
        if built:
            return built
        try:
            with _locked(cache, key):
                built = _cached(cache, key, compiler.identity, flags, arch)  # another builder may have been faster
                if built:
                    return built
                reason = _compile_into(cache, key, name, arch, folder, sources, compiler, flags)
        except OSError as error:
            raise BuildError(
                f"cannot write the build cache {cache}: {error.strerror or error}",
                advice="free space, or set XDG_CACHE_HOME to a folder that can be written",
            ) from error
        if reason is None:
            built = _cached(cache, key, compiler.identity, flags, arch)
            if built is None:
                raise BuildError(f"the build cache {cache} loses what is written to it", advice="check its disk")
            return built
        reasons.append(f"{compiler.name}: {reason}")
    if only is not None:
        reasons = [reason for reason in reasons if reason.startswith(only)] or [f"{only}: not found"]
    raise BuildError(
        f"cannot build the probe {name!r} for {arch}: " + ("; ".join(reasons) or "no compiler was found"),
        advice=what_to_install(arch),
    )


# --- compiling ---


def _command(compiler: Compiler, flags: tuple[str, ...], folder: Path, sources: list[Path], output: Path) -> list[str]:
    # Relative names, from within csrc: no path of this machine can get into the binary. The map is for compilers
    # that make them absolute all the same.
    names = [path.relative_to(folder).as_posix() for path in sources]
    mapped = f"-ffile-prefix-map={folder.resolve()}=."
    return [*compiler.argv, *flags, mapped, "-I.", *names, "-o", str(output), "-lm"]


def _compile_into(
    cache: Path,
    key: str,
    name: str,
    arch: str,
    folder: Path,
    sources: list[Path],
    compiler: Compiler,
    flags: tuple[str, ...],
) -> str | None:
    """Compile and enter into the cache. None if it worked; else why this compiler is to be passed over."""
    with tempfile.TemporaryDirectory(prefix=".build-", dir=cache) as scratch:
        output = Path(scratch) / name
        problem = run(_command(compiler, flags, folder, sources, output), folder)
        if problem is not None:
            unfit = _unfit(compiler, flags, Path(scratch))
            if unfit is None:
                # It compiles and links other programs: the fault is in these sources.
                raise BuildError(
                    f"the probe {name!r} does not compile for {arch} with {compiler.identity}: {problem}",
                    advice=f"mend the sources in {folder}, or set CC to another compiler",
                )
            return unfit
        problem = _wrong_binary(output, arch)
        if problem is not None:
            return problem
        _enter(cache, key, name, arch, output)
    return None


def _unfit(compiler: Compiler, flags: tuple[str, ...], scratch: Path) -> str | None:
    """Why a compiler cannot link the simplest static program with the kernel's headers, or None: it can."""
    trial = scratch / "trial.c"
    trial.write_text(
        "#include <linux/futex.h>\n#include <math.h>\n#include <stdio.h>\n"
        "int main(int c, char **v) { return puts(v[0]) + (int)lgamma(c); }\n"
    )
    problem = run([*compiler.argv, *flags, str(trial), "-o", str(scratch / "trial"), "-lm"], scratch)
    return None if problem is None else f"cannot link a static program ({problem})"


def _wrong_binary(path: Path, arch: str) -> str | None:
    """Is it a 64-bit static ELF program for this architecture? None, or what it is instead."""
    data = path.read_bytes()
    if data[:4] != b"\x7fELF" or data[4:6] != b"\x02\x01":
        return "its output is no 64-bit little-endian ELF program"
    machine: int = struct.unpack_from("<H", data, 18)[0]
    if machine != _MACHINES[arch]:
        return f"its output is for another machine (ELF machine {machine})"
    offset: int = struct.unpack_from("<Q", data, 32)[0]
    size, count = struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, offset + i * size)[0] for i in range(count)]
    return "its output is not static" if _PT_INTERP in kinds else None


# --- the cache ---


def _source_digest(folder: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def _key(name: str, arch: str, sources: str, compiler: Compiler, flags: tuple[str, ...]) -> str:
    # Of $CC "gcc -m32" the arguments count as well; where the program lies does not.
    call = [compiler.name, *compiler.argv[1:]]
    parts = [_CACHE_FORMAT, name, arch, sources, compiler.identity, *call, "--", *flags]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@contextlib.contextmanager
def _locked(cache: Path, key: str) -> Iterator[None]:
    """One builder per key; the others wait and then find it done."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _cached(cache: Path, key: str, identity: str, flags: tuple[str, ...], arch: str) -> Built | None:
    """A valid entry, or None: absent, unreadable, or not what was entered."""
    try:
        entry = json.loads((cache / f"{key}.json").read_text())
        sha256, file = entry["sha256"], entry["file"]
        if not isinstance(sha256, str) or not isinstance(file, str) or Path(file).name != file:
            return None
        path = cache / file
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256 or not os.access(path, os.X_OK):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Built(path, sha256, identity, flags, arch)


def _enter(cache: Path, key: str, name: str, arch: str, binary: Path) -> None:
    """The binary under its own hash, then the entry that points to it: each appears whole or not at all."""
    sha256 = hashlib.sha256(binary.read_bytes()).hexdigest()
    file = f"{name}-{arch}-{sha256[:16]}"
    binary.chmod(0o755)
    note = binary.parent / "entry.json"
    note.write_text(json.dumps({"sha256": sha256, "file": file}) + "\n")
    if binary.stat().st_dev != cache.stat().st_dev:
        raise Bug(f"{binary} is not on the file system of {cache}")
    binary.replace(cache / file)
    note.replace(cache / f"{key}.json")
