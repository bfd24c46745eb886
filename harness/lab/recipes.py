# SPDX-License-Identifier: Apache-2.0
"""What images are made of: Debian suites, packages, users, and which of a kernel's modules a board can have a use for.
Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import resources

from . import grub

#: Part of every key; history: 1, the first.
FORMAT = 1

#: Debian's words for our architectures.
DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}

#: What a disk board has, beside what Debian deems essential.
_PACKAGES = (
    "openssh-server",
    "sudo",
    "python3",
    "kexec-tools",
    "mount",
    "e2fsprogs",
    "rt-tests",  # hackbench, cyclictest
    "iproute2",
    "procps",
    "kmod",
    "grub-common",
    "grub2-common",  # grub-reboot
    "busybox-static",
    "passwd",
)
_BOOT_LOADERS: dict[str, tuple[str, ...]] = {"x86_64": ("grub-pc-bin",), "aarch64": ()}

#: Of a kernel's modules, those that a QEMU board or a test can have a use for; the rest is nine tenths of the bytes.
_MODULES = (
    "arch/",
    "block/",
    "crypto/",
    "drivers/block/virtio_blk",
    "drivers/block/loop",
    "drivers/char/hw_random/",
    "drivers/firmware/qemu_fw_cfg",
    "drivers/net/dummy",
    "drivers/net/net_failover",
    "drivers/net/veth",
    "drivers/net/virtio_net",
    "drivers/virtio/",
    "drivers/watchdog/i6300esb",
    "drivers/watchdog/softdog",
    "fs/autofs/",
    "fs/ext4/",
    "fs/fat/",
    "fs/fuse/",
    "fs/jbd2/",
    "fs/mbcache",
    "fs/nls/",
    "fs/overlayfs/",
    "fs/squashfs/",
    "kernel/",
    "lib/",
    "mm/",
    "net/core/",
    "samples/",
)

#: What the first boot stage loads, with all that these need, before there is a root to load anything from.
FIRST_MODULES = (
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "crc32c_generic",
    "squashfs",
    "ext4",
    "overlay",
)

#: Nobody reads manuals on a board.
_LEFT_OUT = (
    "dev/",
    "usr/share/bash-completion/",
    "usr/share/bug/",
    "usr/share/doc/",
    "usr/share/doc-base/",
    "usr/share/info/",
    "usr/share/initramfs-tools/",
    "usr/share/lintian/",
    "usr/share/locale/",
    "usr/share/man/",
    "usr/share/zoneinfo/",
    "usr/lib/x86_64-linux-gnu/perl/",
    "usr/lib/aarch64-linux-gnu/perl/",
    "usr/share/perl/",
    "var/cache/apt/",
    "var/lib/apt/",
)
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True)
class Recipe:
    """An image: one Debian ``suite`` for one architecture, with the packages of its kernels by flavour."""

    name: str
    suite: str
    arch: str
    kernels: tuple[tuple[str, str], ...]

    @property
    def packages(self) -> tuple[str, ...]:
        return (*(package for _, package in self.kernels), *_PACKAGES, *_BOOT_LOADERS[self.arch])

    @property
    def flavours(self) -> tuple[str, ...]:
        return tuple(flavour for flavour, _ in self.kernels)


def _recipe(suite: str, arch: str, *flavours: str) -> Recipe:
    debian = DEBIAN_ARCH[arch]
    packages = {"stock": f"linux-image-{debian}", "rt": f"linux-image-rt-{debian}"}
    return Recipe(f"{suite}-{arch}", suite, arch, tuple((flavour, packages[flavour]) for flavour in flavours))


#: 6.1 (bookworm) and 6.12 (trixie).
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _recipe("bookworm", "x86_64", "stock", "rt"),
        _recipe("trixie", "x86_64", "stock", "rt"),
        _recipe("bookworm", "aarch64", "stock"),
    )
}
SUITES = tuple(dict.fromkeys(recipe.suite for recipe in RECIPES.values()))
FLAVOURS = tuple(dict.fromkeys(flavour for recipe in RECIPES.values() for flavour in recipe.flavours))


def key(recipe: Recipe) -> str:
    """The name of a recipe's entry in the cache: a hash of all that we decide. What the suite holds on the day it is
    built stands in the entry."""
    decided = (_MODULES, FIRST_MODULES, _LEFT_OUT, grub.PREFIX, grub.MODULES)
    parts = [FORMAT, asdict(recipe), recipe.packages, *decided, _files(recipe)]
    data = json.dumps(parts, sort_keys=True, default=lambda value: value.decode("latin-1"))
    return hashlib.sha256(data.encode()).hexdigest()


def place(name: str) -> str | None:
    """Where a file of a package goes, or None if it stays out: ``./bin/sh`` → ``usr/bin/sh``.

    Packages of before the merge of /usr say ``/bin``, which is a link on every board.
    """
    path = name.removeprefix("./").strip("/")
    first, _, rest = path.partition("/")
    if first in _MERGED:
        if not rest:
            return None  # the link is ours
        path = f"usr/{path}"
    if not path or any(f"{path}/".startswith(prefix) for prefix in _LEFT_OUT) or path.startswith("boot/"):
        return None
    if path.startswith("usr/lib/modules/") and "/kernel/" in path:
        inside = path.partition("/kernel/")[2]
        if not any(f"{inside}/".startswith(keep) or inside.startswith(keep) for keep in _MODULES):
            return None
    return path


def folders_above(path: str) -> list[str]:
    """``a/b/c`` → ``a``, ``a/b``."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


# --- what no package brings


def guest_file(name: str) -> bytes:
    """A file of the folder ``guest``, which lies on boards."""
    return resources.files(__package__).joinpath("guest", name).read_bytes()


_USERS = (("lab", 1000), ("guest", 1001))
_PAM = {
    "common-auth": "auth required pam_unix.so nullok\n",
    "common-account": "account required pam_unix.so\n",
    "common-password": "password required pam_unix.so nullok\n",
    "common-session": "session required pam_permit.so\n",
    "common-session-noninteractive": "session required pam_permit.so\n",
}
#: Small processes and no questions: SSH is the only way in, by the key of whoever brought the board up.
_SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
"""
_INITTAB = """\
::sysinit:/etc/lab/rc
::respawn:/usr/sbin/sshd -D -e
::ctrlaltdel:/sbin/reboot
::shutdown:/etc/lab/rc stop
"""


@dataclass(frozen=True)
class File:
    """``link`` is what a symbolic link says; a directory has no ``data``."""

    mode: int
    data: bytes | None = None
    link: str | None = None


def _files(recipe: Recipe) -> dict[str, tuple[int, bytes | None, str | None]]:
    return {path: (file.mode, file.data, file.link) for path, file in own_files(recipe)}


def own_files(recipe: Recipe) -> list[tuple[str, File]]:
    """What configuring the packages would have made, as far as a board needs it. Sorted; all of it is root's."""
    passwd = ["root:x:0:0:root:/root:/bin/sh", "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin"]
    passwd += ["nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin"]
    passwd += [f"{name}:x:{uid}:{uid}::/home/{name}:/bin/bash" for name, uid in _USERS]
    shadow = [f"{line.split(':')[0]}:*:19000:0:99999:7:::" for line in passwd]
    group = ["root:x:0:", "tty:x:5:", "shadow:x:42:", "sudo:x:27:lab", "nogroup:x:65534:"]
    group += [f"{name}:x:{uid}:" for name, uid in _USERS]
    # What packages leave to update-alternatives.
    alternatives = {"awk": "mawk", "which": "which.debianutils"}
    merged = [link for link in _MERGED if recipe.arch == "x86_64" or link in ("bin", "sbin", "lib")]
    texts = {
        "etc/passwd": passwd,
        "etc/group": group,
        "etc/nsswitch.conf": ["passwd: files", "group: files", "shadow: files", "hosts: files"],
        "etc/fstab": ["# what is mounted stands in /etc/lab/rc"],
    }
    files: dict[str, File] = {
        **{path: File(0o644, "".join(f"{line}\n" for line in lines).encode()) for path, lines in texts.items()},
        **{f"etc/pam.d/{name}": File(0o644, text.encode()) for name, text in _PAM.items()},
        **{link: File(0o777, link=f"usr/{link}") for link in merged},
        **{f"usr/sbin/{name}": File(0o777, link="../bin/busybox") for name in ("init", "reboot", "poweroff", "halt")},
        **{f"usr/bin/{name}": File(0o777, link=real) for name, real in alternatives.items()},
        **{folder: File(0o755) for folder in ("boot", "dev", "etc/lab", "home", "mnt", "proc", "run", "sys", "usr")},
        **{folder: File(0o1777) for folder in ("tmp", "var/tmp")},
        "root": File(0o700),
        "etc/shadow": File(0o640, "".join(f"{line}\n" for line in shadow).encode()),
        "etc/inittab": File(0o644, _INITTAB.encode()),
        "etc/lab/rc": File(0o755, guest_file("rc")),
        "etc/lab/init": File(0o755, guest_file("init")),
        "usr/sbin/update-initramfs": File(0o755, guest_file("update-initramfs")),
        "etc/ssh/sshd_config": File(0o644, _SSHD.encode()),
        "etc/sudoers.d/lab": File(0o440, b"lab ALL=(ALL:ALL) NOPASSWD: ALL\n"),
        "etc/lab/modules": File(0o644, "".join(f"{name}\n" for name in FIRST_MODULES).encode()),
    }
    return sorted(files.items())


def load_order(wanted: Iterable[str], needs: dict[str, tuple[str, ...]]) -> list[str]:
    """``wanted`` modules and all they need, each after what it needs; what is built in is not in ``needs``.

    Module names are written with underscores.
    """
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order or name not in needs:
            return
        for other in needs[name]:
            visit(other)
        order.append(name)

    for name in wanted:
        visit(name)
    return order


def module_needs(binary: bytes) -> tuple[str, ...]:
    """The names in a module's ``depends=`` and ``softdep=pre:``, from its .modinfo section's bytes."""
    found: list[str] = []
    for mark in (b"\0depends=", b"\0softdep=pre: "):
        start = binary.find(mark)
        if start >= 0:
            text = binary[start + len(mark) : binary.index(b"\0", start + 1)].decode("ascii", "replace")
            found += text.replace(",", " ").split()
    return tuple(name.replace("-", "_") for name in found if name != "post:")
