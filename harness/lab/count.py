# SPDX-License-Identifier: Apache-2.0
"""The count board: a kernel, one static program as all of user space, one probe; up in seconds.

It is for what may be asserted of an emulated machine: counts and states, never latencies.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..build import build_probe, build_program
from ..deadline import Deadline
from ..errors import InfrastructureFault
from . import console, machine, newc, tsc
from .images import Kernel
from .kernelimage import elf_with_pvh
from .machine import Boot, Hardware
from .recipes import File

#: Of ``beside``: no probe, but a CPU that is taken away.
OFFLINE = "offline:"
#: A real-time kernel takes the emulated serial line's interrupts for nobody's, after some 100,000: then it is dead.
_ALWAYS = ("panic=-1", "noirqdebug")
#: With 256 MB an arm64 kernel of Debian's ends before its first word.
_MEMORY_MB = 512
#: The line of /proc/interrupts that counts ticks: of x86's local APIC, of arm64's architected timer.
_TICKS = {"x86_64": "LOC", "aarch64": "arch_timer"}


@dataclass(frozen=True)
class Counted:
    """What a count board said. ``before`` and ``after``: /proc/interrupts around the probes, as text.

    ``gaps`` and ``disturbances`` are there of the probe ``sense`` alone.
    """

    arch: str
    status: int
    result: dict[str, Any] | None
    beside: dict[str, Any] | None
    stderr: str
    before: str
    after: str
    cmdline: str
    version: str
    isolated: str
    nohz_full: str
    clocksource: str
    console: str
    gaps: tuple[dict[str, Any], ...] = ()
    disturbances: tuple[dict[str, Any], ...] = ()

    def delta(self, label: str, cpu: int) -> int:
        """How often an interrupt came to ``cpu`` while the probe ran, its own start and end included."""
        return console.interrupts(self.after, cpu).get(label, 0) - console.interrupts(self.before, cpu).get(label, 0)

    def ticks(self, cpu: int) -> int:
        return self.delta(_TICKS[self.arch], cpu)


def run(
    arch: str,
    kernel: Kernel,
    job: Sequence[str] = (),
    *,
    beside: Sequence[str] = (),
    append: Sequence[str] = (),
    cpus: int = 2,
    accel: str = "tcg",
    deadline: Deadline,
) -> Counted:
    """Boot ``kernel`` with ``append`` on its command line, run ``job`` (a probe's name and its arguments), switch off.

    ``beside`` is another that runs at the same time: a control. Or ``offline:1@1500``: CPU 1 goes after 1500 ms.

    Raises InfrastructureFault with a quote of the console when the board did not get that far.
    """
    with tempfile.TemporaryDirectory(prefix="isolbench-count-") as name:
        folder = Path(name)
        log = folder / "console"
        log.touch()
        boot = Boot(_unpacked(kernel.image, folder), folder / "initrd", (*append, *_ALWAYS))
        boot.initrd.write_bytes(_initrd(arch, job, beside)) if boot.initrd else None
        hardware = Hardware(
            "count", arch, cpus, _MEMORY_MB, accel, log, boot, releases=(kernel.release,), tsc_khz=tsc.khz()
        )
        call = [*machine.argv(hardware, machine.program(arch)), "-no-reboot"]
        said = _carry_out(call, folder, log, deadline)
    return _counted(arch, kernel, said)


def _unpacked(image: Path, folder: Path) -> Path:
    """The kernel as it unpacks itself, where QEMU can load that: emulated, its unpacking takes as long as its boot."""
    kernel = elf_with_pvh(image.read_bytes())
    if kernel is None:
        return image
    path = folder / "kernel"
    path.write_bytes(kernel)
    return path


def _initrd(arch: str, job: Sequence[str], beside: Sequence[str]) -> bytes:
    files = {"init": File(0o755, build_program("lab/init.c", arch).path.read_bytes())}
    if job:
        files[job[0]] = File(0o755, build_probe(job[0], arch).path.read_bytes())
        words = [f"/{job[0]}", *job[1:], "--out", "/out"]
        if beside and beside[0].startswith(OFFLINE):
            words += ["&", *beside]
        elif beside:
            files[beside[0]] = File(0o755, build_probe(beside[0], arch).path.read_bytes())
            words += ["&", f"/{beside[0]}", *beside[1:], "--out", "/beside"]
        files["job"] = File(0o644, "".join(f"{word}\n" for word in words).encode())
    return gzip.compress(newc.pack(files), 1, mtime=0)


def _carry_out(call: list[str], folder: Path, log: Path, deadline: Deadline) -> str:
    """Run QEMU to its end and return the console; a panic ends it (panic=-1, -no-reboot), a hang the deadline does."""
    errors = folder / "errors"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(call, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, start_new_session=True)
        hung = False
        try:
            process.wait(deadline.remaining())
        except subprocess.TimeoutExpired:
            hung = True
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    said = console.text_of(log.read_bytes())
    if process.returncode and not hung:
        words = errors.read_text("utf-8", "replace").strip().splitlines()
        raise InfrastructureFault(f"QEMU ended with status {process.returncode}: {words[-1] if words else 'no word'}")
    return said


def _counted(arch: str, kernel: Kernel, said: str) -> Counted:
    try:
        found = console.blocks(said)
    except ValueError as error:
        raise InfrastructureFault(f"count board with {kernel.release}: {error}") from None
    if "done" not in found:
        raise InfrastructureFault(f"count board with {kernel.release}: {console.account(said)}")
    texts = {name: data.decode("utf-8", "replace") for name, data in found.items()}
    return Counted(
        arch=arch,
        status=int(texts["status"]),
        result=json.loads(texts["result.json"]) if texts["result.json"] else None,
        beside=json.loads(texts["beside.json"]) if texts["beside.json"] else None,
        stderr=texts["stderr"],
        before=texts["interrupts-before"],
        after=texts["interrupts-after"],
        cmdline=texts["cmdline"].strip(),
        version=texts["version"].strip(),
        isolated=texts["isolated"].strip(),
        nohz_full=texts["nohz_full"].strip().replace("(null)", ""),
        clocksource=texts["clocksource"].strip(),
        console=said,
        gaps=_lines(texts.get("gaps.jsonl", "")),
        disturbances=_lines(texts.get("disturbances.jsonl", "")),
    )


def _lines(text: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(line) for line in text.splitlines())
