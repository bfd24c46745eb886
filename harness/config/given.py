# SPDX-License-Identifier: Apache-2.0
"""``--kernel NAME=PATH``: what kind of artefact lies at the path. Looks at names, not into files."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from ..agent.spec import SAFE_NAME
from ..errors import UserError
from .kernels import DEFAULT_KERNEL, Artefact

_TARS = ("*.tar", "*.tar.gz", "*.tgz", "*.tar.xz", "*.tar.zst", "*.tar.bz2")
_IMAGES = ("bzImage", "Image", "Image.gz", "vmlinuz", "vmlinuz-*", "vmlinux.efi", "zImage")
#: Of packages beside an image's, which bindeb-pkg leaves in the same folder.
_NOT_IMAGES = ("*-dbg_*", "*-headers-*", "*-libc-dev*")


def to_kernel(text: str) -> tuple[str, Artefact]:
    """``NAME=PATH`` as a kernel's name and its artefact; :class:`UserError` says what is wrong, in one line."""
    name, sign, path_text = text.partition("=")
    if not sign or not SAFE_NAME.fullmatch(name) or not path_text:
        raise UserError(f"--kernel {text}: expected NAME=PATH")
    if name == DEFAULT_KERNEL:
        raise UserError(f"--kernel {text}: {DEFAULT_KERNEL} is what the machine boots by itself")
    path = Path(path_text).expanduser().absolute()
    if not path.exists():
        raise UserError(f"--kernel {text}: no such file or folder")
    return name, _of_folder(path, text) if path.is_dir() else _of_file(path)


def _of_file(path: Path) -> Artefact:
    if path.suffix == ".deb":
        return Artefact(deb=str(path))
    if _matches(path.name, _TARS):
        return Artefact(tar=str(path))
    return Artefact(image=str(path))


def _of_folder(folder: Path, text: str) -> Artefact:
    """A package or a tar file if there is just one, else an image with the modules beside it."""
    names = sorted(each.name for each in folder.iterdir())
    images = [name for name in names if _matches(name, _IMAGES)]
    debs = [
        name for name in names if name.endswith(".deb") and "linux-image" in name and not _matches(name, _NOT_IMAGES)
    ]
    tars = [name for name in names if _matches(name, _TARS) and not name.startswith("modules")]
    found = [*debs, *images] or tars
    if len(found) != 1:
        what = "no kernel in it" if not found else f"more than one kernel in it: {', '.join(found[:5])}"
        raise UserError(f"--kernel {text}: {what}", advice="name the file itself")
    if found != images:
        return _of_file(folder / found[0])
    beside = {"config": ("config", "config-*", ".config"), "dtbs": ("dtbs",), "initrd": ("initrd.img*", "initrd")}
    chosen = {key: next((name for name in names if _matches(name, like)), None) for key, like in beside.items()}
    modules = next((name for name in names if name.startswith("modules") and _matches(name, _TARS)), None)
    if modules is None and any((folder / each).is_dir() for each in ("lib/modules", "usr/lib/modules")):
        modules = "."
    chosen["modules"] = modules
    paths = {key: str(folder / name) for key, name in chosen.items() if name is not None}
    return Artefact(image=str(folder / found[0]), **paths)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
