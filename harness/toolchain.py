# SPDX-License-Identifier: Apache-2.0
"""The compilers that can make a static probe, best first.

For this machine's architecture: ``$CC`` alone where it is set, else musl-gcc, cc, gcc, clang. For the other one:
``<arch>-linux-musl-gcc``, ``<arch>-linux-gnu-gcc``. Last, for both, zig from PyPI, which brings its own C library.

musl comes before glibc for size and sameness: a probe of 0.1 MB against one of 0.85 (an empty static program of glibc's
has 0.67 already), with no rseq area that a library registered for it. The loops are equal (``make bench``).
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ARCHES = ("x86_64", "aarch64")

_ALIASES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}
_TIMEOUT_S = 600  # zig's first build compiles its C library: half a minute on a slow disk


@dataclass(frozen=True)
class Compiler:
    argv: tuple[str, ...]  # how to call it, target included
    identity: str  # as it states it
    name: str  # for messages

    @property
    def family_flags(self) -> tuple[str, ...]:
        # zig cc switches on its own sanitisers unless told not to.
        return ("-fno-sanitize=all",) if "ziglang" in self.argv else ()

    @property
    def is_small(self) -> bool:
        """Does it link with musl, so that a probe stays under 200 KB?"""
        return self.name == "zig" or "musl" in self.name


def canonical(arch: str) -> str:
    """``amd64`` and the like in the words of :data:`ARCHES`."""
    return _ALIASES.get(arch, arch)


def native_arch() -> str:
    """This machine's architecture, in the words of :data:`ARCHES`."""
    return canonical(platform.machine().lower())


def compilers(arch: str, reasons: list[str]) -> Iterator[Compiler]:
    """Those that can be called, best first; lazily, for a cached build needs only the first one's identity.

    Why one that was asked for cannot be is added to ``reasons``.
    """
    named = os.environ.get("CC", "").strip()
    candidates: list[list[str]]
    if arch != native_arch():
        candidates = [[f"{arch}-linux-musl-gcc"], [f"{arch}-linux-gnu-gcc"]]
    elif named:
        candidates = [shlex.split(named)]
    else:
        candidates = [["musl-gcc"], ["cc"], ["gcc"], ["clang"]]
    seen: set[str] = set()
    for argv in candidates:
        program = shutil.which(argv[0])
        if program is None:
            if named or arch != native_arch():
                reasons.append(f"{argv[0]}: not found")
            continue
        real = str(Path(program).resolve())
        if real in seen:  # cc is gcc on most machines: no need to hear it fail twice
            continue
        seen.add(real)
        identity = _identity([program, *argv[1:], "--version"])
        if identity is None:
            reasons.append(f"{argv[0]}: does not answer to --version")
            continue
        if "musl" in argv[0] and "musl" not in identity:
            identity = f"{identity} with musl"  # Debian's is a script around gcc, and states gcc's
        yield Compiler((program, *argv[1:], *_kernel_headers(Path(argv[0]).name)), identity, argv[0])
    if importlib.util.find_spec("ziglang") is None:
        reasons.append("zig: the package ziglang is not installed")
        return
    zig = (sys.executable, "-m", "ziglang")
    version = _identity([*zig, "version"])
    if version is None:
        reasons.append("zig: does not answer to version")
        return
    yield Compiler((*zig, "cc", "-target", f"{arch}-linux-musl"), f"zig {version}", "zig")


def _kernel_headers(name: str) -> tuple[str, ...]:
    """Debian's musl-gcc knows musl's headers and not the kernel's, which lie among glibc's: last, so that none of
    those comes before musl's own."""
    if name != "musl-gcc":
        return ()
    folders = ("/usr/include", f"/usr/include/{native_arch()}-linux-gnu")
    return tuple(word for folder in folders for word in ("-idirafter", folder))


def what_to_install(arch: str) -> str:
    """The advice where no compiler will do."""
    if arch == native_arch():
        return "install a C compiler with a static C library (Debian: gcc musl-tools), or: pip install ziglang"
    return f"pip install ziglang, or install a cross compiler (Debian: gcc-{arch.replace('_', '-')}-linux-gnu)"


def run(argv: list[str], cwd: Path) -> str | None:
    """Call a compiler. None if it worked, else the line that says most about why not."""
    try:
        done = subprocess.run(
            argv, cwd=cwd, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S,
            env=_environment(), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"did not finish within {_TIMEOUT_S} s"
    except OSError as error:
        return error.strerror or str(error)
    if done.returncode == 0:
        return None
    return _telling([line.strip() for line in done.stderr.splitlines()]) or f"exit code {done.returncode}"


#: What says most about a failure, best first: what a compiler says of a line, then what a linker says of a symbol. That
#: the compiler's driver then reports its linker's status ("collect2: error: ld returned 1 exit status") says nothing.
_TELLING = (r":\d+: (fatal )?error: ", r"undefined (reference|symbol)", r"cannot find", r"error")
_DRIVER = re.compile(r"ld returned \d+ exit status|linker command failed")


def _telling(lines: list[str]) -> str | None:
    said = [line for line in lines if line and not _DRIVER.search(line)] or [line for line in lines if line]
    for pattern in _TELLING:
        for line in said:
            if re.search(pattern, line, re.IGNORECASE):
                return line
    return said[0] if said else None


def _identity(argv: list[str]) -> str | None:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=60, env=_environment(), check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None


def _environment() -> dict[str, str]:
    # SOURCE_DATE_EPOCH and the locale: nothing of the day or the machine in a binary or a message. Variables that
    # add search paths or flags behind the key's back are left out.
    hidden = {"CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "GCC_EXEC_PREFIX", "COMPILER_PATH", "REALGCC", "LC_ALL"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
