# SPDX-License-Identifier: Apache-2.0
"""What all tests share: hypothesis without a clock (machines under test are slow now and then), reproducible in CI."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "isolbench",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
    print_blob=True,
)
settings.load_profile("isolbench")
