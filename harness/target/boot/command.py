# SPDX-License-Identifier: Apache-2.0
"""``command``: the site's own program puts in place what the machine boots next; then it is told to reboot.

It is run on the controller, before each boot, also before one of the machine's default (``{kernel}`` is ``default`` and
``{boot}`` is ``plain`` then): so it can put that back.
"""

from __future__ import annotations

from .base import Method

METHOD = Method("command")
