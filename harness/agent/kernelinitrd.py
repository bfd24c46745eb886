# SPDX-License-Identifier: Apache-2.0
"""The initial RAM disk of a kernel of ours, made by whatever makes them on this machine."""

from __future__ import annotations

import contextlib
import os
from typing import Iterator, List, Optional

from . import kernelstate
from .kerneljournal import Journal
from .kernelparts import copy_bytes
from .system import AgentError, Tree

_MAKE_S = 600.0
#: For what they are given a release and a path.
_MAKERS = (
    ("/usr/sbin/mkinitramfs", ["-o", "{path}", "{release}"]),
    ("/usr/bin/dracut", ["--force", "{path}", "{release}"]),
    ("/usr/bin/mkinitcpio", ["-k", "{release}", "-g", "{path}"]),
)


def is_made(tree: Tree) -> bool:
    """Whether anything here makes one."""
    makers = any(tree.exists(maker) for maker, _ in _MAKERS)
    return makers or kernelstate.tool(tree, "update-initramfs") is not None


def make(tree: Tree, journal: Journal, folder: str, release: str) -> Optional[str]:
    """The path of the one of the build in ``folder``: what was put, else made here; None where nothing makes one."""
    if tree.exists(f"{folder}/initrd"):
        return f"{folder}/initrd"
    with _config(tree, journal, folder, release):
        return _make(tree, journal, folder, release)


@contextlib.contextmanager
def _config(tree: Tree, journal: Journal, folder: str, release: str) -> Iterator[None]:
    """Meanwhile the configuration lies where mkinitramfs looks for which compressions the kernel knows: without it
    none will do. A file that is there already stays as it is."""
    path = f"/boot/config-{release}"
    entry = {"id": os.path.basename(folder), "kind": "file", "path": path}
    theirs = tree.exists(path) and entry not in journal.entries()
    if theirs or not tree.exists(f"{folder}/config"):
        yield
        return
    journal.note([entry])
    copy(tree, f"{folder}/config", path)
    yield  # if that fails, all that is in the journal of this build is removed
    os.unlink(tree.path(path))
    journal.forget([entry])


def _make(tree: Tree, journal: Journal, folder: str, release: str) -> Optional[str]:
    failed: Optional[AgentError] = None
    for maker, arguments in _MAKERS:
        if tree.exists(maker):
            path = f"{folder}/.initrd"
            words = [word.format(path=tree.path(path), release=release) for word in arguments]
            try:
                run(tree, [maker, *words], "the initial RAM disk")
            except AgentError as error:  # it may be there without its configuration, and another one in use
                failed = error
            else:
                os.rename(tree.path(path), tree.path(f"{folder}/initrd"))
                return f"{folder}/initrd"
    made = _update_initramfs(tree, journal, folder, release)
    if made is None and failed is not None:
        raise failed
    return made


def _update_initramfs(tree: Tree, journal: Journal, folder: str, release: str) -> Optional[str]:
    """Where there is only this: it writes to a name of its own, from which ours is taken."""
    tool, made = kernelstate.tool(tree, "update-initramfs"), f"/boot/initrd.img-{release}"
    if tool is None:
        return None
    ours = [{"id": os.path.basename(folder), "kind": "file", "path": path} for path in (made, f"{made}.new")]
    if ours[0] in journal.entries():  # of a try that was cut off
        for each in ours:
            journal.undo(each)
    if tree.exists(made):
        raise fault("release-taken", f"{made} belongs to another build of {release}")
    journal.note(ours)
    run(tree, [tool, "-c", "-k", release], "the initial RAM disk")
    copy(tree, made, f"{folder}/initrd", 0o600)
    os.unlink(tree.path(made))
    journal.forget(ours)
    return f"{folder}/initrd"


# -- what installing a kernel does besides


def fault(kind: str, message: str, advice: Optional[str] = None) -> AgentError:
    return AgentError("environment", kind, message, advice)


def copy(tree: Tree, path: str, to: str, mode: int = 0o644) -> None:
    """Whole or not at all, and on the disk. An initial RAM disk may have keys in it: 0600, whatever its maker says."""
    aside = tree.path(f"{to}.part")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(aside)
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(tree.path(path), "rb") as source, os.fdopen(fd, "wb") as file:
        copy_bytes(source, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(aside, tree.path(to))


def run(tree: Tree, argv: List[str], what: str) -> None:
    """A program of this machine; AgentError, with the last that it said, unless it ends well."""
    try:
        status, out, err = tree.run(argv, _MAKE_S)
    except OSError as error:
        raise fault("command", f"{what}: {argv[0]}: {error.strerror or error}") from None
    if status:
        last = [line for line in (err + "\n" + out).split("\n") if line.strip()][-1:]
        raise fault("command", f"{what}: {argv[0]} ended with status {status}: {''.join(last).strip()[:200]}")
