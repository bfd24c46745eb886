# SPDX-License-Identifier: Apache-2.0
"""Kernels of ours on this machine: kept by id, installed, removed. Others' files are never touched.

``/var/lib/isolbench/kernels`` has a folder for each build, by its id (the first 12 digits of the artefact's hash), and
``journal.jsonl``, written and on the disk before anything else is changed::

    {"id": "0123456789ab", "kind": "file", "path": "/boot/isolbench-0123456789ab"}
    {"id": "0123456789ab", "kind": "link", "path": "/lib/modules/6.18.0", "to": …}
    {"id": null, "kind": "block", "path": "/boot/grub/custom.cfg"}

It describes the disk, and so outlives boots. What it names is removed by :meth:`Kernels.remove`; a block is what stands
in somebody else's file between two lines of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from typing import Any, Dict, List, Optional

from .system import AgentError, Tree, remove_tree, write_durably

HOME = "/var/lib/isolbench/kernels"
#: Of ours, so many lie on a machine at once: the one that runs and the one that comes.
MOST = 2
#: What has to be left free where an image goes: a distribution's own updates need room.
SPARE_BYTES = 16 << 20
BEGIN, END = "# isolbench: begin\n", "# isolbench: end\n"
#: Marks every command line of ours. The kernel takes a dot for a module's parameter, and does not hand it to init.
MARK = "isolbench.boot"
_PARTS = ("image", "initrd", "modules.tar.gz", "dtbs.tar.gz", "config")
_MAKE_S = 600.0
#: Makers of an initial RAM disk: for what they are given a release and a path.
_MAKERS = (
    ("/usr/sbin/mkinitramfs", ["-o", "{path}", "{release}"]),
    ("/usr/bin/dracut", ["--force", "{path}", "{release}"]),
    ("/usr/bin/mkinitcpio", ["-k", "{release}", "-g", "{path}"]),
)


def _fault(kind: str, message: str, advice: Optional[str] = None) -> AgentError:
    return AgentError("environment", kind, message, advice)


class Kernels:
    """The store below ``tree``. Everything here needs root, and raises :class:`AgentError` in one line."""

    def __init__(self, tree: Optional[Tree] = None) -> None:
        self._tree = tree or Tree()
        self._journal = self._tree.path(f"{HOME}/journal.jsonl")

    # -- what there is

    def state(self, read: List[str]) -> Dict[str, Any]:
        """What a boot method has to know; ``read`` are text files whose contents it wants."""
        cmdline = self._tree.read("/proc/cmdline") or ""
        marks = [word.partition("=")[2] for word in cmdline.split() if word.startswith(f"{MARK}=")]
        release = self._tree.read("/proc/sys/kernel/osrelease") or ""
        return {
            "boot_id": self._tree.read("/proc/sys/kernel/random/boot_id"),
            "release": release,
            "cmdline": cmdline,
            "ours": marks[-1] if marks else None,
            "image": self._first(
                f"/boot/vmlinuz-{release}", f"/boot/Image-{release}", f"/lib/modules/{release}/vmlinuz"
            ),
            "initrd": self._first(
                f"/boot/initrd.img-{release}", f"/boot/initramfs-{release}.img", f"/boot/initrd-{release}"
            ),
            "default": self.default(),
            "installed": self.installed(),
            "tools": {name: found for name in _TOOLS if (found := self._tool(name)) is not None},
            "texts": {path: self._text(path) if self._tree.exists(path) else None for path in read},
        }

    def default(self) -> Optional[Dict[str, Any]]:
        """What was seen of the boot that is not ours, the last time one was seen."""
        try:
            found = json.loads(self._text(f"{HOME}/default.json"))
        except (ValueError, OSError):
            return None
        return found if isinstance(found, dict) else None

    def remember_default(self) -> Dict[str, Any]:
        """Write down what this machine boots by itself, if that runs now."""
        state = self.state([])
        if state["ours"] is not None:
            raise _fault("not-default", f"what runs is a boot of ours ({state['ours']}), not the machine's own")
        found = {key: state[key] for key in ("release", "cmdline", "image", "initrd")}
        self._make_home()
        write_durably(self._tree.path(f"{HOME}/default.json"), json.dumps(found).encode())
        return found

    def release(self, release: str) -> Dict[str, Any]:
        """The files of a kernel that lies here already."""
        image = self._first(f"/boot/vmlinuz-{release}", f"/boot/Image-{release}", f"/lib/modules/{release}/vmlinuz")
        if image is None:
            known = sorted(name[8:] for name in self._tree.names("/boot") if name.startswith("vmlinuz-"))
            raise _fault("no-kernel", f"no kernel {release} is installed (found: {', '.join(known) or 'none'})")
        initrd = self._first(f"/boot/initrd.img-{release}", f"/boot/initramfs-{release}.img", f"/boot/initrd-{release}")
        return {"image": image, "initrd": initrd, "release": release, "version": self._version(image)}

    def _version(self, image: str) -> Optional[str]:
        """What ``uname -v`` will say, from the header of an x86 image (at 0x20e); None of others."""
        head = self._tree.read_bytes(image, 1 << 16) or b""
        if head[0x202:0x206] != b"HdrS":
            return None
        at = int.from_bytes(head[0x20E:0x210], "little") + 0x200
        found = re.match(rb"[^ \0]+ \([^\0]*?\) (#[0-9]+ [^\0]*)", head[at : at + 400])
        return None if found is None else found[1].decode("ascii", "replace").strip()

    def installed(self) -> List[Dict[str, Any]]:
        """Ours that are whole, the oldest first: ``{id, release, image, initrd, dtbs}``."""
        found = []
        for name in self._tree.names(HOME):
            with contextlib.suppress(OSError, ValueError):
                entry = json.loads(self._text(f"{HOME}/{name}/installed.json"))
                found.append(entry)
        return sorted(found, key=lambda entry: entry.get("number", 0))

    def _first(self, *paths: str) -> Optional[str]:
        return next((path for path in paths if self._tree.exists(path)), None)

    def _tool(self, name: str) -> Optional[str]:
        return self._first(*(f"{folder}/{name}" for folder in ("/usr/sbin", "/usr/bin", "/sbin", "/bin")))

    def _text(self, path: str) -> str:
        with open(self._tree.path(path), encoding="utf-8", errors="replace") as file:
            return file.read()

    # -- putting

    def put(self, build: str, part: str, data: Any, size: int) -> None:
        """Keep ``size`` bytes that ``data`` reads as ``part`` of the build; whole or not at all."""
        if part not in _PARTS or not _is_id(build):
            raise AgentError("bug", "usage", f"no part of a kernel: {part}")
        folder = self._tree.path(f"{HOME}/{build}")
        self._make_home()
        os.makedirs(folder, mode=0o755, exist_ok=True)
        self._space(HOME, size, f"{part} of the kernel")
        aside = os.path.join(folder, f".{part}")
        left = size
        with open(aside, "wb") as file:
            while left:
                block = data.read(min(left, 1 << 20))
                if not block:
                    raise AgentError("infrastructure", "corrupt", f"{left} of {size} bytes of {part} did not come")
                file.write(block)
                left -= len(block)
            file.flush()
            os.fsync(file.fileno())
        os.rename(aside, os.path.join(folder, part))

    def has(self, build: str) -> bool:
        return any(entry["id"] == build for entry in self.installed())

    def install(self, build: str, release: str, place: str = "/boot") -> Dict[str, Any]:
        """Make what was put bootable from ``place``; what :meth:`installed` says of it."""
        if not _is_id(build) or not _is_release(release):
            raise AgentError("bug", "usage", f"not a build of a release: {build} {release}")
        for whole in self.installed():
            if whole["id"] == build:
                self._use_modules(build, release)
                return whole
        folder = f"{HOME}/{build}"
        image = os.path.getsize(self._tree.path(f"{folder}/image"))
        self._check_modules(release)
        self._make_room(build)
        # an initial RAM disk is mostly larger than the image: it is made below our own folder, and weighed then
        self._space(place, image + SPARE_BYTES, f"the kernel {release}")
        if self._tree.exists(f"{folder}/modules.tar.gz"):
            self._unpack(folder, "modules")
            self._use_modules(build, release)
            depmod = self._tool("depmod")
            if depmod is not None:
                self._run([depmod, release], "the list of modules")
        initrd = self._initrd(folder, release)
        entry: Dict[str, Any] = {"id": build, "release": release, "image": f"{place}/isolbench-{build}.vmlinuz"}
        entry["initrd"] = f"{place}/isolbench-{build}.initrd" if initrd else None
        needed = image + (os.path.getsize(self._tree.path(initrd)) if initrd else 0)
        self._space(place, needed + SPARE_BYTES, f"the kernel {release} and its initial RAM disk")
        paths = [path for path in (entry["image"], entry["initrd"]) if path]
        self.note([{"id": build, "kind": "file", "path": path} for path in paths])
        self._copy(f"{folder}/image", entry["image"])
        if initrd:
            self._copy(initrd, entry["initrd"])
        if self._tree.exists(f"{folder}/dtbs.tar.gz"):
            self._unpack(folder, "dtbs")
        entry["dtbs"] = f"{folder}/dtbs" if self._tree.exists(f"{folder}/dtbs") else None
        entry["number"] = 1 + max((each.get("number", 0) for each in self.installed()), default=0)
        write_durably(self._tree.path(f"{folder}/installed.json"), json.dumps(entry).encode())
        return entry

    def _make_home(self) -> None:
        try:
            os.makedirs(self._tree.path(HOME), mode=0o755, exist_ok=True)
        except OSError as error:
            raise _fault(
                "no-folder", f"{HOME}: {error.strerror}", "installing kernels needs root (become: sudo)"
            ) from None

    def _space(self, place: str, needed: int, what: str) -> None:
        try:
            info = os.statvfs(self._tree.path(place))
        except OSError as error:
            raise _fault("no-folder", f"{place}: {error.strerror}") from None
        free = info.f_bavail * info.f_frsize
        if free < needed:
            message = f"{place} has {free >> 20} MiB free, and {what} needs {(needed >> 20) + 1}"
            raise AgentError("infrastructure", "storage-full", message, f"free space in {place}: old kernels, mostly")

    def _make_room(self, build: str) -> None:
        """Of ours remove the oldest, but never the one that runs, until there is room for one more."""
        ours = self.installed()
        running = (self.state([])["ours"] or "").partition("/")[0]
        for entry in ours:
            if len(self.installed()) < MOST:
                return
            if entry["id"] not in (running, build):
                self.remove(entry["id"])

    def _check_modules(self, release: str) -> None:
        path = f"/lib/modules/{release}"
        if os.path.lexists(self._tree.path(path)) and not self._is_our_link(path):
            raise _fault(
                "release-taken",
                f"{path} belongs to another build of {release}, which is installed on the machine",
                "build with another CONFIG_LOCALVERSION; or, if it is this very build: {installed: %s}" % release,
            )

    def _is_our_link(self, path: str) -> bool:
        real = self._tree.path(path)
        return os.path.islink(real) and os.readlink(real).startswith(f"{HOME}/")

    def _use_modules(self, build: str, release: str) -> None:
        """Have /lib/modules lead to the modules of this build of the release: there may be two of one."""
        to = f"{HOME}/{build}/modules/{release}"
        if not self._tree.exists(to):
            return
        self._check_modules(release)
        path = f"/lib/modules/{release}"
        self.note([{"id": build, "kind": "link", "path": path, "to": to}])
        real = self._tree.path(path)
        os.makedirs(os.path.dirname(real), exist_ok=True)
        aside = f"{real}.isolbench"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        os.symlink(to, aside)
        os.rename(aside, real)

    def _unpack(self, folder: str, what: str) -> None:
        import tarfile  # a package of its own on small systems, and nothing else needs it

        real = self._tree.path(f"{folder}/{what}")
        remove_tree(real)
        packed = self._tree.path(f"{folder}/{what}.tar.gz")
        self._space(folder, 4 * os.path.getsize(packed), what)
        with tarfile.open(packed) as archive:
            for member in archive:
                parts = member.name.split("/")
                if not member.isreg() or member.name.startswith("/") or ".." in parts:
                    raise AgentError("infrastructure", "corrupt", f"{what}: not a plain file: {member.name}")
                to = os.path.join(real, *parts)
                os.makedirs(os.path.dirname(to), exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None
                with source, open(to, "wb") as file:
                    _copy_bytes(source, file)
        os.unlink(packed)

    def _initrd(self, folder: str, release: str) -> Optional[str]:
        """The path of the initial RAM disk: the one that was put, else made here; None where nothing makes one."""
        if self._tree.exists(f"{folder}/initrd"):
            return f"{folder}/initrd"
        failed: Optional[AgentError] = None
        for maker, arguments in _MAKERS:
            if self._tree.exists(maker):
                path = f"{folder}/initrd"
                words = [word.format(path=self._tree.path(path), release=release) for word in arguments]
                try:
                    self._run([maker, *words], "the initial RAM disk")
                    return path
                except AgentError as error:  # it may be there without its configuration, and another one in use
                    failed = error
        made = self._update_initramfs(folder, release)
        if made is None and failed is not None:
            raise failed
        return made

    def _update_initramfs(self, folder: str, release: str) -> Optional[str]:
        """Where there is only this: it writes to a name of its own, from which ours is taken."""
        tool, made = self._tool("update-initramfs"), f"/boot/initrd.img-{release}"
        if tool is None or self._tree.exists(made):
            return None
        self.note([{"id": os.path.basename(folder), "kind": "file", "path": made}])
        self._run([tool, "-c", "-k", release], "the initial RAM disk")
        self._copy(made, f"{folder}/initrd")
        os.unlink(self._tree.path(made))
        return f"{folder}/initrd"

    def _copy(self, path: str, to: str) -> None:
        aside = self._tree.path(f"{to}.part")
        with open(self._tree.path(path), "rb") as source, open(aside, "wb") as file:
            _copy_bytes(source, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(aside, self._tree.path(to))

    def _run(self, argv: List[str], what: str) -> None:
        try:
            status, out, err = self._tree.run(argv, _MAKE_S)
        except OSError as error:
            raise _fault("command", f"{what}: {argv[0]}: {error.strerror or error}") from None
        if status:
            last = [line for line in (err + "\n" + out).split("\n") if line.strip()][-1:]
            raise _fault("command", f"{what}: {argv[0]} ended with status {status}: {''.join(last).strip()[:200]}")

    # -- what a boot method wants done

    def carry_out(self, steps: List[Dict[str, Any]]) -> None:
        """``{"write": path, "text"}``, ``{"block": path, "text"}``, ``{"run": argv}``, ``{"copy": path, "to"}``."""
        for step in steps:
            if "run" in step:
                argv = [str(word) for word in step["run"]]
                path = argv[0] if argv[0].startswith("/") else self._tool(argv[0])
                if path is None:
                    raise _fault("no-tool", f"{argv[0]} is not installed on the target", f"install {argv[0]}")
                self._run([path, *argv[1:]], argv[0])
            elif "block" in step:
                self.note([{"id": None, "kind": "block", "path": step["block"]}])
                self._set_block(str(step["block"]), str(step["text"]))
            elif "write" in step:
                self.note([{"id": step.get("id"), "kind": "file", "path": step["write"]}])
                real = self._tree.path(str(step["write"]))
                os.makedirs(os.path.dirname(real), exist_ok=True)
                write_durably(real, str(step["text"]).encode())
            elif "copy" in step:
                size = os.path.getsize(self._tree.path(str(step["copy"])))
                self._space(os.path.dirname(str(step["to"])), size + SPARE_BYTES, "a kernel's file")
                self.note([{"id": step.get("id"), "kind": "file", "path": step["to"]}])
                self._copy(str(step["copy"]), str(step["to"]))
            else:
                raise AgentError("bug", "usage", f"no step: {sorted(step)}")

    def _set_block(self, path: str, text: str) -> None:
        """``text`` between our two lines, in the place of what stood there; all else of the file as it was."""
        before = self._text(path) if self._tree.exists(path) else ""
        head, begun, rest = before.partition(BEGIN)
        tail = rest.partition(END)[2] if begun else ""
        if head and not head.endswith("\n"):
            head += "\n"
        after = head + (f"{BEGIN}{text.rstrip()}\n{END}" if text else "") + tail
        real = self._tree.path(path)
        if after:
            mode = os.stat(real).st_mode & 0o777 if self._tree.exists(path) else 0o644
            write_durably(real, after.encode(), mode)
        elif self._tree.exists(path):
            os.unlink(real)

    # -- putting back

    def note(self, entries: List[Dict[str, Any]]) -> None:
        """On the disk before anything is changed."""
        known = self.entries()
        new = [entry for entry in entries if entry not in known]
        if new:
            self._make_home()
            write_durably(self._journal, "".join(json.dumps(each) + "\n" for each in known + new).encode())

    def entries(self) -> List[Dict[str, Any]]:
        found = []
        try:
            lines = self._text(f"{HOME}/journal.jsonl").split("\n")
        except OSError:
            return []
        for line in lines:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    found.append(entry)
        return found

    def remove(self, build: Optional[str] = None) -> List[Dict[str, Any]]:
        """Remove one build, or everything of ours: the newest first. One report an entry, as of an undo."""
        report, left = [], []
        for entry in reversed(self.entries()):
            if build is not None and entry.get("id") != build:
                left.append(entry)
                continue
            outcome = self._remove_one(entry)
            report.append(outcome)
            if not outcome["ok"]:
                left.append(entry)
        folders = [build] if build is not None else [n for n in self._tree.names(HOME) if _is_id(n)]
        for name in folders:
            if not any(entry.get("id") == name for entry in left):
                remove_tree(self._tree.path(f"{HOME}/{name}"))
        lines = "".join(json.dumps(entry) + "\n" for entry in reversed(left)).encode()
        if left:
            write_durably(self._journal, lines)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._journal)
        return report

    def _remove_one(self, entry: Dict[str, Any]) -> Dict[str, Any]:
        kind, path = entry.get("kind"), str(entry.get("path"))
        told: Dict[str, Any] = {"kind": kind, "name": "kernels", "path": path, "before": None, "found": None}
        told.update(ok=True, reason=None)
        real = self._tree.path(path)
        try:
            if kind == "file":
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(real)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{real}.part")
            elif kind == "link":
                for each in (real, f"{real}.isolbench"):
                    if os.path.islink(each) and os.readlink(each) == entry.get("to"):
                        os.unlink(each)
            elif kind == "block":
                if self._tree.exists(path):
                    self._set_block(path, "")
            else:
                told.update(ok=False, reason=f"a newer agent's entry ({str(kind)[:40]!r}): restore by that one")
        except OSError as error:
            told.update(ok=False, reason=error.strerror or str(error))
        return told


_TOOLS = ("kexec", "grub-reboot", "grub2-reboot", "bootctl", "systemctl", "reboot")


def _copy_bytes(source: Any, file: Any) -> None:
    for part in iter(lambda: source.read(1 << 20), b""):
        file.write(part)


def _is_id(text: str) -> bool:
    return len(text) == 12 and all(char in "0123456789abcdef" for char in text)


def _is_release(text: str) -> bool:
    return bool(text) and text[0].isalnum() and all(char.isalnum() or char in "._+~-" for char in text)


# -- the command


def serve(request: Dict[str, Any], data: Any, kernels: Optional[Kernels] = None) -> Dict[str, Any]:
    """One request of the controller's, whose bytes ``data`` reads; the answer."""
    kernels = kernels or Kernels()
    what = request.get("op")
    if what == "state":
        return {"state": kernels.state([str(path) for path in request.get("read") or []])}
    if what == "default":
        return {"default": kernels.remember_default()}
    if what == "release":
        return {"entry": kernels.release(str(request["release"]))}
    if what == "has":
        return {"has": kernels.has(str(request["build"]))}
    if what == "put":
        kernels.put(str(request["build"]), str(request["part"]), data, int(request["size"]))
        return {}
    if what == "install":
        return {
            "entry": kernels.install(str(request["build"]), str(request["release"]), str(request.get("place", "/boot")))
        }
    if what == "steps":
        kernels.carry_out(list(request["steps"]))
        return {}
    if what == "remove":
        return {"restored": kernels.remove()}
    raise AgentError("bug", "usage", f"no such request: {what}")


def main(stdin: Any, stdout: Any) -> int:
    """``agent kernels``: a JSON line, and the bytes that it speaks of, on standard input; a JSON line back."""
    try:
        answer = serve(json.loads(stdin.readline()), stdin)
    except AgentError as error:
        answer = {"error": error.to_json()}
    except OSError as error:
        kind = "storage-full" if error.errno in (28, 122) else "os"
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
        answer = {"error": {"fault": "environment", "kind": kind, "message": message, "advice": None}}
    stdout.write("isolbench-kernels " + json.dumps(answer) + "\n")
    stdout.flush()
    return 0
