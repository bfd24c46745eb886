# SPDX-License-Identifier: Apache-2.0
"""What goes into an image: files moved, dropped or kept; modules in an order that loads; keys."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.targets import FLAVOURS, IMAGES, VIRTUAL_ARCHES
from harness.lab import disks, grub, newc, recipes
from harness.lab.recipes import RECIPES, File


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("./bin/bash", "usr/bin/bash"),
        ("./usr/bin/env", "usr/bin/env"),
        ("./bin/", None),
        ("./lib64", None),
        ("./", None),
        ("./usr/share/doc/bash/copyright", None),
        ("./usr/share/documents", "usr/share/documents"),
        ("./boot/vmlinuz-6.1.0", None),
        ("./dev/null", None),
        ("./lib/modules/6.1.0/kernel/fs/ext4/ext4.ko", "usr/lib/modules/6.1.0/kernel/fs/ext4/ext4.ko"),
        (
            "./lib/modules/6.1.0/kernel/drivers/net/virtio_net.ko",
            "usr/lib/modules/6.1.0/kernel/drivers/net/virtio_net.ko",
        ),
        ("./lib/modules/6.1.0/kernel/drivers/gpu/drm/drm.ko", None),
        ("./usr/lib/modules/6.12/kernel/sound/core/snd.ko.xz", None),
        ("./lib/modules/6.1.0/modules.builtin", "usr/lib/modules/6.1.0/modules.builtin"),
    ],
)
def test_where_a_packages_file_goes(name: str, where: str | None) -> None:
    assert recipes.place(name) == where


@given(st.dictionaries(st.integers(0, 12), st.sets(st.integers(0, 12))))
def test_modules_are_loaded_after_what_they_need(graph: dict[int, set[int]]) -> None:
    # a module needs only those before it: kernels have no circles
    needs = {
        f"m{name}": tuple(f"m{other}" for other in sorted(others) if other < name) for name, others in graph.items()
    }
    order = recipes.load_order(needs, needs)
    assert sorted(order) == sorted(needs)
    for name in order:
        assert all(order.index(other) < order.index(name) for other in needs[name] if other in needs)


def test_what_a_module_needs_stands_in_it() -> None:
    binary = b"\x7fELF\0junk\0license=GPL\0depends=mbcache,jbd2\0softdep=pre: crc32c\0retpoline=Y\0"
    assert recipes.module_needs(binary) == ("mbcache", "jbd2", "crc32c")
    assert recipes.module_needs(b"\x7fELF\0depends=\0name=x\0") == ()


def test_each_recipe_has_its_own_key() -> None:
    keys = [recipes.key(recipe) for recipe in RECIPES.values()]
    assert len(set(keys)) == len(keys)
    assert keys == [recipes.key(recipe) for recipe in RECIPES.values()]


def test_a_file_of_ours_that_changes_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES["bookworm-x86_64"]
    before = recipes.key(recipe)
    monkeypatch.setattr(recipes, "guest_file", lambda name: b"#!/bin/sh\n")
    assert recipes.key(recipe) != before


def test_the_inventorys_words_are_those_of_the_recipes() -> None:
    assert {recipe.suite for recipe in RECIPES.values()} == set(IMAGES)
    assert {recipe.arch for recipe in RECIPES.values()} == set(VIRTUAL_ARCHES)
    assert {flavour for recipe in RECIPES.values() for flavour in recipe.flavours} == set(FLAVOURS)


def test_an_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    archive = newc.pack({"bin/tool": File(0o755, b"12345"), "sh": File(0o777, link="bin/tool"), "proc": File(0o755)})
    assert archive == newc.pack(
        {"proc": File(0o755), "sh": File(0o777, link="bin/tool"), "bin/tool": File(0o755, b"12345")}
    )
    try:
        listed = subprocess.run(
            ["cpio", "-tv", "--quiet"], input=archive, capture_output=True, check=True
        ).stdout.decode()
    except FileNotFoundError:
        pytest.skip("no cpio here to read the archive with")
    lines = [line.split() for line in listed.splitlines()]
    assert [line[-1] for line in lines] == ["bin", "bin/tool", "dev", "dev/console", "proc", "bin/tool"]
    assert {line[2] for line in lines} == {"root"}
    assert lines[1][0] == "-rwxr-xr-x"
    assert lines[3][0].startswith("c")


def test_a_disk_has_one_partition_behind_the_boot_loader() -> None:
    table = disks.partition_table(1000, b"\x90" * 600)
    assert len(table) == 512
    assert table[:446] == b"\x90" * 446
    assert table[446] == 0x80
    assert int.from_bytes(table[454:458], "little") == 2048
    assert int.from_bytes(table[458:462], "little") == 1000
    assert table[510:] == b"\x55\xaa"


def test_grubs_environment_block_is_what_its_tools_take(tmp_path: Path) -> None:
    block = tmp_path / "grubenv"
    block.write_bytes(grub.environment())
    try:
        subprocess.run(["grub-editenv", str(block), "set", "next_entry=6.1.0"], check=True)
        listed = subprocess.run(["grub-editenv", str(block), "list"], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        pytest.skip("no grub-editenv here (Debian: grub-common)")
    assert listed == "next_entry=6.1.0\n"


def test_the_default_entry_is_the_first_and_next_entry_is_forgotten_before_it_is_tried() -> None:
    text = io.BytesIO(grub.configuration(["6.1.0-1", "6.1.0-1-rt"], "console=ttyS0")).read().decode()
    assert 'set default="gnulinux-6.1.0-1"' in text
    assert '--id "gnulinux-6.1.0-1-rt"' in text
    assert text.index("save_env next_entry") < text.index("menuentry")
    assert "linux /boot/vmlinuz-6.1.0-1-rt console=ttyS0\n" in text
