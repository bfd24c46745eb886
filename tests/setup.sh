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
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "tests: installing Debian packages:$missing"
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of package names on purpose
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "tests: not installed, and tests that need them will be skipped:$missing" >&2
    echo "tests: as root on Debian: apt-get install --no-install-recommends$missing" >&2
fi
