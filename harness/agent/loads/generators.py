# SPDX-License-Identifier: Apache-2.0
"""What each process of ``spin``, ``syscalls`` and ``memory`` does. The agent executes the text of this file with
Python, once for each housekeeping CPU: it imports nothing of ours.

    generators.py PARENT spin|syscalls|memory [BYTES]

Looking at the parent every few milliseconds costs nothing; when it is another one, it is over. Who it was we are told:
it may be gone before we can ask. Python is no hindrance: a copy is one memcpy, and four fifths of a loop of system
calls are the kernel's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def spin() -> None:
    for _ in range(20000):
        pass


def make_syscalls() -> Callable[[], None]:
    """Cheap ones, and some that come to files, pipes and the scheduler. Nothing is left: no name is created."""
    device = os.open("/dev/null", os.O_RDWR)
    zeros = os.open("/dev/zero", os.O_RDONLY)
    out, into = os.pipe()

    def syscalls() -> None:
        for _ in range(500):
            for _ in range(10):
                os.getppid()
            os.write(device, b"x")
            os.read(zeros, 4096)
            os.write(into, b"x")
            os.read(out, 1)
            os.lseek(device, 0, os.SEEK_SET)
            os.close(os.open("/dev/null", os.O_RDONLY))
            os.stat("/")
            os.sched_yield()

    return syscalls


def make_memory(size: int) -> Callable[[], None]:
    """Copies of ``size`` bytes back and forth. Both are written first: memory never written is one page of zeros."""
    here, there = memoryview(bytearray(b"\x55") * size), memoryview(bytearray(b"\xaa") * size)
    piece = 1 << 24

    def memory() -> None:
        for at in range(0, size, piece):
            there[at : at + piece] = here[at : at + piece]
        for at in range(0, size, piece):
            here[at : at + piece] = there[at : at + piece]

    return memory


def main() -> None:
    parent, kind = int(sys.argv[1]), sys.argv[2]
    if kind == "spin":
        turn = spin
    elif kind == "syscalls":
        turn = make_syscalls()
    else:
        turn = make_memory(int(sys.argv[3]))
    while os.getppid() == parent:
        turn()


if __name__ == "__main__":
    main()
