# SPDX-License-Identifier: Apache-2.0
"""The architectures that a machine, or a kernel, may be of: as ``uname -m`` says them."""

ARCHITECTURES = ("x86_64", "aarch64", "armv7l", "riscv64", "ppc64le", "s390x", "loongarch64", "i686")
