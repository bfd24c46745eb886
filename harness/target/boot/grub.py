# SPDX-License-Identifier: Apache-2.0
"""``grub-once``: an entry of ours in GRUB's custom.cfg, and ``grub-reboot`` to it. ``saved_entry`` stays what it was.

How the image is found (modules, ``search``, ``set root``) is taken from the machine's own first entry: it boots. If
ours does not all the same, GRUB reboots: it has forgotten by then that it was to boot ours, and would wait in its menu.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...config.kernels import split_parameters
from ...errors import TargetUnfit
from .base import Bootable, Method, State, Step

_CONFIGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
_ENTRY = re.compile(r"^[ \t]*menuentry [^\n]*\{\n(.*?)^[ \t]*\}", re.MULTILINE | re.DOTALL)
_LINUX = re.compile(r"^[ \t]*(linux(?:16|efi)?)[ \t]+(\S+)", re.MULTILINE)
_INITRD = {"linux": "initrd", "linux16": "initrd16", "linuxefi": "initrdefi"}
ENTRY_ID = "isolbench-once"
#: Which GRUB can write to, beside ext2 to ext4. Where it cannot it boots the next entry for ever.
_WRITABLE = ("xfs", "vfat")
_BETWEEN = {"lvm": "LVM", "raid": "software RAID"}
#: Lines of the machine's own entry that ours does without: words, and a note of boots that fail.
_NOT_KEPT = ("echo", "#", "recordfail")


class GrubOnce(Method):
    def arm(self, what: Bootable, state: State) -> list[Step]:
        config, text = self._config(state)
        if "next_entry" not in text:
            raise TargetUnfit(
                f"{config} does not look for a next entry: grub-reboot would have no effect",
                advice="update-grub, or boot: kexec",
            )
        if "custom.cfg" not in text:
            raise TargetUnfit(
                f"{config} does not read custom.cfg", advice="restore /etc/grub.d/41_custom and update-grub"
            )
        folder = config.rpartition("/")[0]
        tool = next(name for name in ("grub-reboot", "grub2-reboot") if name in (state.get("tools") or {}))
        return [
            {"block": f"{folder}/custom.cfg", "text": entry(text, what)},
            {"arm": "grub", "path": f"{folder}/grubenv", "name": ENTRY_ID, "run": [tool, ENTRY_ID]},
        ]

    def check(self, state: State) -> None:
        if "grub2-reboot" not in (state.get("tools") or {}):
            super().check(state)
        self._config(state)
        self._check_writable(state.get("grubenv") or {})

    def _check_writable(self, grubenv: Mapping[str, Any]) -> None:
        on, fs = _BETWEEN.get(str(grubenv.get("on"))), str(grubenv.get("fs") or "an unknown file system")
        if on is not None or not (fs.startswith("ext") or fs in _WRITABLE):
            raise TargetUnfit(
                f"{grubenv.get('path') or 'grubenv'} lies on {on or fs}: GRUB cannot write there, "
                "and would boot the next entry for ever",
                advice="a /boot of its own with ext4, or boot: kexec",
            )

    def _config(self, state: State) -> tuple[str, str]:
        texts = state.get("texts") or {}
        found = next(((path, text) for path in _CONFIGS if (text := texts.get(path))), None)
        if found is None:
            raise TargetUnfit(f"no GRUB configuration on the target ({' or '.join(_CONFIGS)})", advice="boot: kexec")
        return found


def entry(config: str, what: Bootable) -> str:
    """Our menu entry, with what comes before the kernel in the first one of ``config``."""
    for match in _ENTRY.finditer(config):
        body = match[1]
        linux = _LINUX.search(body)
        if linux is None:
            continue
        before = [line.strip() for line in body[: linux.start()].split("\n")]
        kept = [line for line in before if line and not line.startswith(_NOT_KEPT)]
        # Where /boot is a file system of its own, GRUB's paths begin below it.
        separate = not linux[2].startswith(("/boot/", "/@/boot/"))
        prefix = linux[2].partition("/boot/")[0] if not separate else ""
        lines = [
            f"menuentry 'isolbench' --id {ENTRY_ID} {{",
            *(f"  {line}" for line in kept),
            f"  if {linux[1]} {_path(what.image, prefix, separate=separate)} {quoted(what.cmdline)}; then",
        ]
        if what.initrd is None:
            lines.append("    boot")
        else:
            initrd = _path(what.initrd, prefix, separate=separate)
            lines += [f"    if {_INITRD[linux[1]]} {initrd}; then", "      boot", "    fi"]
        return "\n".join([*lines, "  fi", "  reboot", "}"])
    raise TargetUnfit("GRUB's configuration has no entry that boots Linux: there is nothing to go by")


def _path(path: str, prefix: str, *, separate: bool) -> str:
    return path.removeprefix("/boot") if separate else prefix + path


def quoted(cmdline: str) -> str:
    """Each parameter as one word to GRUB, taken literally. Around one with a blank GRUB itself puts quotation marks;
    before those within, as before some other signs, a backslash, which the kernel takes for a part of the value.
    """
    words = split_parameters(cmdline)
    odd = next((word for word in words if "'" in word or "\\" in word), None)
    if odd is not None:
        raise TargetUnfit(f"GRUB cannot hand on {odd}", advice="boot: kexec, or remove it by the boot profile")
    return " ".join("'" + word.replace('"', "") + "'" for word in words)


METHOD = GrubOnce("grub-once", tools=("grub-reboot",), reads=_CONFIGS)
