"""ROUGE-L: the F score of the longest common subsequence."""

from __future__ import annotations

import pytest

from torpor.metrics.rouge import rouge_l


def test_order_and_length_count() -> None:
    assert rouge_l("a red one .", "a red one .") == 1
    assert rouge_l("one red a .", "a red one .") == pytest.approx(0.5)  # order counts: "one ." or "a ."
    assert rouge_l("a " * 60, "a red one .") == pytest.approx(2 / 64)
    assert rouge_l("", "a") == rouge_l("", "") == 0
