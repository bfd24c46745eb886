# SPDX-License-Identifier: Apache-2.0
"""The program that a command of a load runs under. The agent executes the text of this file with Python: it imports
nothing of ours.

    keeper.py PARENT once|again COMMAND...

What the command leaves behind when it forks, daemonises or changes its session comes to the keeper, as a subreaper
(where Python has ctypes): so it stays in the load's family, and the CPU time of those that ended is the keeper's. It
says ``started``, and at the end why it ended: when the command failed, when the last process has gone and it is not to
be started ``again``, or when PARENT is gone. Before it ends itself it kills all that is left: nobody else would find
them. SIGTERM is passed on to all, once; then it waits until all have gone, however the command ended.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
#: How often it looks whether its parent is still there, in seconds. What its children do wakes it at once.
LOOK_S = 0.2
#: How long it goes on killing when its parent is gone.
KILL_S = 5
#: Kept of the last thing that the command said.
TAIL = 300


def adopt_orphans() -> None:
    """Without ctypes (a package of its own on small systems) orphans go to init, and are found by their marker."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return


def descendants() -> set[int]:
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open("/proc/" + name + "/stat", "rb") as file:
                    text = file.read()
                fields = text[text.rfind(b")") + 2 :].split()
                if fields[0] != b"Z":
                    parents[int(name)] = int(fields[1])
    found = {os.getpid()}
    grown = 0
    while grown != len(found):
        grown = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found - {os.getpid()}


def send(number: int) -> bool:
    """The signal to all descendants; is there one?"""
    found = descendants()
    for pid in found:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
    return bool(found)


def kill_all(parent: int) -> None:
    """Until nobody is left. What hangs in the kernel is waited for, and so stays in the family, while there is a
    ``parent`` who asks about it."""
    pause_s = 0.002
    end_s = time.monotonic() + KILL_S
    while send(signal.SIGKILL) and (os.getppid() == parent or time.monotonic() < end_s):
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LOOK_S)


def start(command: list[str], stderr: int) -> int:
    # Python ignores SIGPIPE and SIGXFSZ: the command shall not.
    return os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, stderr, 2)],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )


def say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(1, (text + "\n").encode("utf-8", "replace"))


def how(status: int, said: bytes) -> str:
    """``exit status 3: its last line``."""
    code = os.waitstatus_to_exitcode(status)
    text = "exit status %d" % code if code >= 0 else "killed by signal %d" % -code
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return text + ": " + lines[-1].strip() if lines else text


class Keeper:
    def __init__(self, parent: int, again: bool, command: list[str]) -> None:
        self.parent = parent
        self.again = again
        self.command = command
        self.said = b""
        self.stopping = False
        self.ear, self.mouth = os.pipe()
        os.set_blocking(self.ear, False)
        self.awake, wakeup = os.pipe()
        for fd in (self.awake, wakeup):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        self.main = start(command, self.mouth)

    def run(self) -> str:
        """Until it is over; says why."""
        status = 0
        while True:
            self.wait()
            while True:
                try:
                    pid, found = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    return how(status, b"")
                if pid == 0:
                    break
                if pid == self.main:
                    status = found
                    if status and not self.stopping:
                        self.listen()
                        return how(status, self.said)
                    if self.again and not self.stopping:
                        self.main = start(self.command, self.mouth)
            if os.getppid() != self.parent:
                return "its parent is gone"

    def wait(self) -> None:
        select.select([self.ear, self.awake], [], [], LOOK_S)
        self.listen()
        with contextlib.suppress(BlockingIOError):
            if signal.SIGTERM in os.read(self.awake, 4096) and not self.stopping:
                self.stopping = True
                send(signal.SIGTERM)

    def listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.said = (self.said + os.read(self.ear, 65536))[-TAIL:]


def main() -> None:
    parent, times, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    adopt_orphans()
    try:
        keeper = Keeper(parent, times == "again", command)
    except OSError as error:
        say("cannot run " + command[0] + ": " + (error.strerror or str(error)))
        return
    say("started")
    try:
        say(keeper.run())
    except OSError as error:  # it could be started once, but not again
        say("cannot run " + command[0] + " again: " + (error.strerror or str(error)))
    finally:
        kill_all(parent)


if __name__ == "__main__":
    main()
