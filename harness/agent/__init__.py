# SPDX-License-Identifier: Apache-2.0
"""The controller on the target: standard library only, Python >= 3.9, imports nothing of harness, zipped verbatim.

``supervisor`` forks ``worker``; the worker serves one controller (``server``, ``requests``) and carries out batches
(``batch``); whatever happens to either of them, what was changed on the machine is put back (``undo``).
"""

VERSION = "0.1.0"
