"""Skip, with the reason, where the plug-in of ``tests/plugin`` is not installed."""

from __future__ import annotations

import pytest

from torpor.targets.resolve import target_names

installed = pytest.mark.skipif(
    "example-skipping" not in target_names(),
    reason="the plug-in is not installed: pip install --no-deps --editable tests/plugin",
)
SKIPPING, ENDPOINT = "example-skipping", "example-endpoint"
