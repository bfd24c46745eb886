#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the tests use beyond Python: installed from Debian's packages where we are root and apt-get is there, named where
# not. A test whose tool is missing is skipped, and says so.
set -eu

# command:package
wanted="stress-ng:stress-ng sshd:openssh-server ssh:openssh-client sudo:sudo dropbear:dropbear-bin oslat:rt-tests chromium:chromium
cc:gcc musl-gcc:musl-tools strace:strace ip:iproute2 mmdebstrap:mmdebstrap qemu-aarch64:qemu-user busybox:busybox-static setpriv:util-linux tmux:tmux useradd:passwd
tcsh:tcsh fish:fish unshare:util-linux systemctl:systemd pgrep:procps
qemu-system-x86_64:qemu-system-x86 qemu-system-aarch64:qemu-system-arm sqfstar:squashfs-tools depmod:kmod grub-mkimage:grub-common
mkfs.ext4:e2fsprogs cpio:cpio"

missing=""
for pair in $wanted; do
    command="${pair%%:*}"
    # sshd and useradd live in sbin, which an ordinary user's PATH leaves out.
    PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
# A compiler without a C library compiles nothing; Debian recommends it only. It brings the kernel's headers as well.
[ -e /usr/include/stdio.h ] && [ -e /usr/include/linux/futex.h ] || missing="$missing libc6-dev"

# Kernels of Debian, as test data: fetched once, never unpacked here. Without them their tests are skipped.
fetch_kernels() {
    command -v apt-get >/dev/null 2>&1 && [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || return 0
    debs="${XDG_CACHE_HOME:-$HOME/.cache}/isolbench/test-debs"
    mkdir -p "$debs"
    # The newest, and of the real-time ones that before it: the newest is what virtual boards have already.
    for wanted in '-amd64$:1' '-rt-amd64$:2'; do
        pattern="^linux-image-6[.]1[.][0-9.]+-[0-9]+${wanted%:*}"
        package="$(apt-cache pkgnames linux-image-6.1 | grep -E "$pattern" | sort -V | tail -n "${wanted#*:}" | head -n 1)"
        [ -n "$package" ] || continue
        ls "$debs/$package"_*.deb >/dev/null 2>&1 && continue
        (cd "$debs" && apt-get download -qq "$package" 2>/dev/null) || echo "tests: $package was not to be had" >&2
    done
}

if [ -z "$missing" ]; then
    fetch_kernels
    exit 0
fi

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "tests: installing Debian packages:$missing"
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of package names on purpose
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "tests: not installed, and tests that need them will be skipped:$missing" >&2
    echo "tests: as root on Debian: apt-get install --no-install-recommends$missing" >&2
fi
fetch_kernels
