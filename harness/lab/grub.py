# SPDX-License-Identifier: Apache-2.0
"""A board's boot loader: GRUB on the disk of an x86 board. Pure.

Its core holds all that it needs, so that a disk gets it by writing bytes; its configuration and its environment block
are files in /boot/grub, where ``grub-reboot`` and whoever adds entries find them.
"""

from __future__ import annotations

from collections.abc import Sequence

#: The first partition of the disk that the BIOS booted from, whichever that is.
PREFIX = "(,msdos1)/boot/grub"
MODULES = (
    "biosdisk",
    "boot",
    "configfile",
    "echo",
    "ext2",
    "gzio",
    "linux",
    "loadenv",
    "normal",
    "part_msdos",
    "reboot",
    "search",
    "serial",
    "sleep",
    "terminal",
    "test",
)
ENVIRONMENT_BYTES = 1024

_HEAD = """\
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=0
set default="{default}"
load_env
if [ -n "$saved_entry" ]; then
    set default="$saved_entry"
fi
# grub-reboot's: for one boot, and forgotten before it is tried.
if [ -n "$next_entry" ]; then
    set default="$next_entry"
    set next_entry=
    save_env next_entry
fi
"""
_TAIL = """\
if [ -f $prefix/custom.cfg ]; then
    source $prefix/custom.cfg
fi
"""


def entry(release: str) -> str:
    """The name of a kernel's entry. What begins with a digit GRUB takes for a position in its menu."""
    return f"gnulinux-{release}"


def configuration(releases: Sequence[str], command_line: str) -> bytes:
    """grub.cfg with an entry for each kernel, called :func:`entry`; the first is the default one.

    Entries of others go into custom.cfg beside it, as in Debian.
    """
    entries = (
        f'menuentry "Linux {release}" --id "{entry(release)}" {{\n'
        f"    linux /boot/vmlinuz-{release} {command_line}\n"
        f"    initrd /boot/initrd.img-{release}\n}}\n"
        for release in releases
    )
    return (_HEAD.format(default=entry(releases[0])) + "".join(entries) + _TAIL).encode()


def environment() -> bytes:
    """An empty environment block: of fixed size, since GRUB writes into it without knowing a file system."""
    return b"# GRUB Environment Block\n".ljust(ENVIRONMENT_BYTES, b"#")
