# SPDX-License-Identifier: Apache-2.0
"""Kernels of ours on this machine: kept by id, installed, removed. Others' files are never touched.

``/var/lib/isolbench/kernels`` has a folder for each build, by its id (the first 12 digits of the artefact's hash), and
the journal. Whoever changes something here holds a lock: of a controller that was killed what it had asked for may
still be going on.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Dict, Iterator, List, Optional

from . import kernelinitrd, kernelstate, kernelsteps, kerneltrees
from .kernelinitrd import fault
from .kerneljournal import Journal, is_id, make_home
from .kernelmodules import Modules
from .kernelparts import ARCHIVES, FILES, place_of, receive
from .kernelstate import HOME
from .system import AgentError, Tree, remove_tree, write_durably

#: Of ours, so many lie on a machine at once: the one that runs and the one that comes.
MOST = 2
#: What has to be left free where an image goes: a distribution's own updates need room.
SPARE_BYTES = 16 << 20
#: For so long another request of ours is waited for: an initial RAM disk may be in the making for a dead controller.
LOCK_S = 600.0
#: A folder that is everywhere. A file of ours would have to be left behind, or be removed under somebody's hands.
_LOCKED = "/var/lib"


class Kernels:
    """The store below ``tree``. Everything here needs root, and raises :class:`AgentError` in one line."""

    def __init__(self, tree: Optional[Tree] = None) -> None:
        self.tree = tree or Tree()
        self.journal = Journal(self.tree)
        self.modules = Modules(self.tree, self.journal)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes anything here meanwhile. Waits; what holds it ends by itself, if not soon."""
        fd = os.open(self.tree.path(_LOCKED), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            deadline = time.monotonic() + LOCK_S
            while not _lock(fd):
                if time.monotonic() > deadline:
                    raise AgentError("infrastructure", "busy", "somebody else is installing kernels there")
                time.sleep(0.2)
            yield
        finally:
            os.close(fd)

    # -- what there is

    def remember_default(self) -> Dict[str, Any]:
        """Write down what this machine boots by itself, if that runs now."""
        state = kernelstate.state(self.tree, [])
        if state["ours"] is not None:
            raise fault("not-default", f"what runs is a boot of ours ({state['ours']}), not the machine's own")
        found = {key: state[key] for key in ("release", "cmdline", "image", "initrd")}
        make_home(self.tree)
        write_durably(self.tree.path(f"{HOME}/default.json"), json.dumps(found).encode())
        return found

    def release(self, release: str) -> Dict[str, Any]:
        """The files of a kernel that lies here already. ``release`` may be a pattern: it has to match one."""
        found = kernelstate.matching(self.tree, release)
        if len(found) != 1:
            known = ", ".join(found or kernelstate.releases(self.tree)) or "none"
            what = f"{len(found)} kernels match {release}" if found else f"no kernel {release} is installed"
            raise fault("no-kernel", f"{what} (found: {known})")
        release = found[0]
        image = str(kernelstate.image_of(self.tree, release))
        initrd, version = kernelstate.initrd_of(self.tree, release), kernelstate.version_of(self.tree, image)
        return {"image": image, "initrd": initrd, "release": release, "version": version}

    def installed(self) -> List[Dict[str, Any]]:
        return kernelstate.installed(self.tree)

    # -- putting

    def check(self, build: str, release: str, sizes: Dict[str, int], place: str = "/boot") -> Dict[str, Any]:
        """Before anything is sent: whether the build can be installed, and what of it is here already.

        ``sizes`` are the bytes that each part will take. Raises AgentError while nothing has been changed. Then what
        was begun of other builds, and kernels of ours beyond those that may lie here, are removed.
        """
        _check_names(build, release, *sizes)
        if self._whole(build) is not None:
            return {"has": True, "parts": []}
        self.modules.check(release)
        leaving = self._leaving(build)
        here = [part for part in sizes if self.tree.exists(f"{HOME}/{build}/{place_of(part)}")]
        self._weigh(release, {part: sizes[part] for part in sizes if part not in here}, place, leaving)
        for each in leaving:
            self.remove(each)
        return {"has": False, "parts": here}

    def put(self, build: str, part: str, data: Any, size: int, sha256: str) -> None:
        """Keep ``size`` bytes that ``data`` reads as ``part`` of the build; whole or not at all."""
        _check_names(build, "0", part)
        folder = f"{HOME}/{build}"
        self.journal.note([{"id": build, "kind": "build", "path": folder}])
        os.makedirs(self.tree.path(folder), mode=0o755, exist_ok=True)
        receive(self.tree.path(folder), part, data, size, sha256)

    def install(self, build: str, release: str, place: str = "/boot") -> Dict[str, Any]:
        """Make what was put bootable from ``place``; its entry, as of :meth:`installed`.

        Where that fails nothing of the build is left. What runs has its own modules afterwards, as before: those of the
        build are made to be found by a step, right before it is booted.
        """
        _check_names(build, release)
        whole = self._whole(build)
        if whole is not None:
            return whole
        self.modules.check(release)
        try:
            return self._install(build, release, place)
        except (AgentError, OSError):
            self.remove(build)
            raise
        finally:
            self.modules.use_those_of_what_runs()

    def _whole(self, build: str) -> Optional[Dict[str, Any]]:
        """The entry of a build that is installed, and that nobody has taken files away from since."""
        entry = next((each for each in self.installed() if each["id"] == build), None)
        files = [] if entry is None else [entry["image"], *([entry["initrd"]] if entry["initrd"] else [])]
        return entry if all(self.tree.exists(str(path)) for path in files) else None

    def _install(self, build: str, release: str, place: str) -> Dict[str, Any]:
        folder = f"{HOME}/{build}"
        if self.tree.exists(f"{folder}/modules"):
            self.modules.label(f"{folder}/modules")
            self.modules.use(build, release)
            depmod = kernelstate.tool(self.tree, "depmod")
            if depmod is not None:
                kernelinitrd.run(self.tree, [depmod, release], "the list of modules")
        initrd = kernelinitrd.make(self.tree, self.journal, folder, release)
        entry: Dict[str, Any] = {"id": build, "release": release, "image": f"{place}/isolbench-{build}.vmlinuz"}
        entry["initrd"] = f"{place}/isolbench-{build}.initrd" if initrd else None
        needed = self._size(f"{folder}/image") + (self._size(initrd) if initrd else 0)
        self._space(place, needed + SPARE_BYTES, f"the kernel {release} with its initial RAM disk")
        paths = [path for path in (entry["image"], entry["initrd"]) if path]
        self.journal.note([{"id": build, "kind": "file", "path": path} for path in paths])
        kernelinitrd.copy(self.tree, f"{folder}/image", entry["image"])
        if initrd:
            kernelinitrd.copy(self.tree, initrd, entry["initrd"], 0o600)
        came = self.tree.exists(f"{folder}/dtbs")
        entry["dtb"] = kerneltrees.fitting(self.tree, f"{folder}/dtbs") if came else None
        entry["number"] = 1 + max((each.get("number", 0) for each in self.installed()), default=0)
        os.sync()  # after a power cut no module may be there and empty
        write_durably(self.tree.path(f"{folder}/installed.json"), json.dumps(entry).encode(), 0o644)
        return entry

    # -- room

    def _leaving(self, build: str) -> List[str]:
        """What goes before ``build`` comes: of ours the oldest, but never the one that runs, until there is room for
        one more; and all that somebody began to install and did not finish."""
        ours = [entry["id"] for entry in self.installed()]
        running = (kernelstate.running(self.tree) or "").partition("/")[0]
        old = [each for each in ours if each != running][: max(0, len(ours) - MOST + 1)]
        begun = {str(entry["id"]) for entry in self.journal.entries() if entry.get("id")} | set(self._builds())
        return old + sorted(each for each in begun if each not in (*ours, build))

    def _builds(self) -> List[str]:
        return [name for name in self.tree.names(HOME) if is_id(name)]

    def _weigh(self, release: str, sizes: Dict[str, int], place: str, leaving: List[str]) -> None:
        """Whether there is room once ``leaving`` are gone. How large an initial RAM disk gets that is yet to be made,
        the one of the machine's own kernel gives an idea of."""
        on_boot = sum(size for part, size in sizes.items() if part in ("image", "initrd"))
        if "initrd" not in sizes and kernelinitrd.is_made(self.tree):
            current = (kernelstate.default(self.tree) or {}).get("initrd")
            on_boot += self._size(str(current)) if current else 0
        freed = sum(self._size(path) for each in leaving for path in self.journal.files_of(each))
        self._space(place, on_boot + SPARE_BYTES, f"the kernel {release} with its initial RAM disk", freed)
        home = HOME if self.tree.exists(HOME) else _LOCKED
        here = sum(sizes.values())
        freed_here = sum(self._size_of_build(each) for each in leaving)
        if os.stat(self.tree.path(place)).st_dev == os.stat(self.tree.path(home)).st_dev:
            here, freed_here = here + on_boot, freed_here + freed
        self._space(home, here + SPARE_BYTES, f"the kernel {release} with its modules", freed_here)

    def _space(self, place: str, needed: int, what: str, freed: int = 0) -> None:
        """AgentError unless there is room for so many bytes, once so many others are removed."""
        try:
            info = os.statvfs(self.tree.path(place))
        except OSError as error:
            raise fault("no-folder", f"{place}: {error.strerror}") from None
        free = info.f_bavail * info.f_frsize + freed
        if free < needed:
            message = f"{place} has {free >> 20} MiB free, and {what} needs {-(-needed >> 20)}"
            raise AgentError("infrastructure", "storage-full", message, f"free space in {place}: old kernels, mostly")

    def _size(self, path: str) -> int:
        try:
            return os.path.getsize(self.tree.path(path))
        except OSError:
            return 0

    def _size_of_build(self, build: str) -> int:
        walked = os.walk(self.tree.path(f"{HOME}/{build}"))
        return sum(os.lstat(os.path.join(top, name)).st_size for top, _, names in walked for name in names)

    def check_space_for(self, path: str, folder: str) -> None:
        """AgentError unless a copy of ``path`` has room in ``folder``."""
        self._space(folder, self._size(path) + SPARE_BYTES, "a kernel")

    # -- what a boot method wants done

    def carry_out(self, steps: List[Dict[str, Any]]) -> None:
        kernelsteps.carry_out(self, steps)

    def forget_next_boot(self) -> None:
        """What was armed and not booted is taken back, and what runs finds its own modules; AgentError if it cannot."""
        self.journal.disarm()
        self.modules.use_those_of_what_runs()

    # -- putting back

    def remove(self, build: Optional[str] = None) -> List[Dict[str, Any]]:
        """Remove one build, or everything of ours: the newest first. One report an entry, as of an undo."""
        if build is not None:
            self.journal.disarm()  # it may be what is booted next
        report = self.journal.remove(build)
        left = {entry.get("id") for entry in self.journal.entries()}
        for name in [build] if build is not None else self._builds():
            if name not in left:
                remove_tree(self.tree.path(f"{HOME}/{name}"))
        if build is None and not left and kernelstate.running(self.tree) is None:
            # not even what was noted of the machine's own boot: it is seen anew before the next one
            remove_tree(self.tree.path(HOME))
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self.tree.path(HOME)))
        return report


def _lock(fd: int) -> bool:
    import fcntl  # a package of its own on small systems, and nothing else needs it

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _check_names(build: str, release: str, *parts: str) -> None:
    unknown = [part for part in parts if part not in ARCHIVES and part not in FILES]
    if not is_id(build) or not _is_release(release) or unknown:
        raise AgentError("bug", "usage", f"no part of a build of a release: {build} {release} {' '.join(parts)}")


def _is_release(text: str) -> bool:
    return bool(text) and text[0].isalnum() and all(char.isalnum() or char in "._+~-" for char in text)
