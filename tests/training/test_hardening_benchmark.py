"""The benchmark of hardening compares networks at the accuracy that was asked for."""

from __future__ import annotations

import pytest
from benchmarks import hardening

from torpor.data.images import Digits


def test_networks_are_compared_at_equal_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardening, "ATTACKS", (("deepsloth", "16/255", 10),))
    data = Digits()
    points = [hardening.at_accuracy(target, data, 0.96, 20) for target in hardening.networks(data, epochs=1)]
    assert [point.network for point in points] == [
        "sdn-digits",
        "as long, unattacked",
        "sdn-digits defended by calibrated",
        "sdn-digits defended by hardened",
        "sdn-digits defended by neo-kd",
    ]
    plain, _, calibrated, hardened, distilled = points
    assert calibrated.threshold > plain.threshold  # the same images leave: confidences rose
    assert max(hardened.attacked[0], distilled.attacked[0]) < plain.attacked[0]
    assert all(0 < point.clean <= 1 and 0.8 <= point.accuracy <= 1 for point in points)
