# SPDX-License-Identifier: Apache-2.0
"""``systemd-boot-once``: an entry of ours on the boot partition, and ``bootctl set-oneshot``. The default stays.

Where none is set the first entry of the menu is it. Ours has the name that sorts last there, and is gone with the boot;
but that is not relied upon.
"""

from __future__ import annotations

import re

from ...errors import TargetUnfit
from .base import Bootable, Method, State, Step

_ENTRY = "0-isolbench-once.conf"
#: Where a boot partition is mounted, by the file that systemd-boot has there.
_LOADERS = ("/efi/loader/loader.conf", "/boot/efi/loader/loader.conf", "/boot/loader/loader.conf")
#: What ``bootctl set-default`` sets; its text is more than four bytes.
_DEFAULT = "/sys/firmware/efi/efivars/LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_SAYS_DEFAULT = re.compile(r"^[ \t]*default[ \t]+\S", re.MULTILINE)


class SystemdBootOnce(Method):
    def arm(self, what: Bootable, state: State) -> list[Step]:
        esp = self._esp(state)
        steps: list[Step] = []
        paths: list[str] = []
        for number, path in enumerate(path for path in (what.image, what.initrd) if path is not None):
            if not path.startswith(f"{esp}/"):  # only what lies on the partition can be booted from it
                to = f"{esp}/isolbench-once.{('vmlinuz', 'initrd')[number]}"
                steps.append({"copy": path, "to": to, "id": what.build})
                path = to
            paths.append(path.removeprefix(esp))
        lines = ["title isolbench", f"linux {paths[0]}", *(f"initrd {path}" for path in paths[1:])]
        text = "\n".join([*lines, f"options {what.cmdline}", ""])
        steps.append({"write": f"{esp}/loader/entries/{_ENTRY}", "text": text, "once": True})
        return [*steps, {"arm": "systemd-boot", "name": _ENTRY, "run": ["bootctl", "set-oneshot", _ENTRY]}]

    def check(self, state: State) -> None:
        super().check(state)
        esp, texts = self._esp(state), state.get("texts") or {}
        config = f"{esp}/loader/loader.conf"
        if not texts.get(_DEFAULT) and not _SAYS_DEFAULT.search(texts.get(config) or ""):
            raise TargetUnfit(
                f"{config} names no default: what the machine boots by itself depends on what entries there are",
                advice="bootctl set-default with the entry that it boots now",
            )

    def _esp(self, state: State) -> str:
        texts = state.get("texts") or {}
        found = next((path for path in _LOADERS if texts.get(path) is not None), None)
        if found is None:
            raise TargetUnfit(
                f"no systemd-boot on the target ({', '.join(_LOADERS)})", advice="boot: grub-once or kexec"
            )
        return found.removesuffix("/loader/loader.conf")


METHOD = SystemdBootOnce("systemd-boot-once", tools=("bootctl",), reads=(*_LOADERS, _DEFAULT))
