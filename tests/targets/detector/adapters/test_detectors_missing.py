from __future__ import annotations

import sys

import pytest

from torpor.core.errors import UsageError
from torpor.targets.resolve import load_target


@pytest.mark.parametrize(
    ("name", "needs"), [("torchvision:ssd300_vgg16", "torchvision"), ("ultralytics:yolov8n.yaml", "ultralytics")]
)
def test_a_library_that_is_missing_is_named_in_one_sentence(
    name: str, needs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, needs, None)
    with pytest.raises(UsageError, match=rf"expected {needs} that fits this torch, .*torpor\[detectors\]") as caught:
        load_target(name)
    assert "\n" not in str(caught.value)
