"""The end token's weights: what training leaves, and what a change of them alone leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import torpor
from torpor.audits.verdict.gate import Verdict
from torpor.core.errors import UsageError
from torpor.scan.end_token import audit_end_token, has_head, judged
from torpor.scan.inputs import scan_inputs
from torpor.scan.judged import judge
from torpor.scan.run import scan
from torpor.targets.early_exit.toys import needle
from torpor.targets.resolve import load_target
from torpor.zoo.registry import lm_multi30k

WEIGHTS = Path(str(torpor.__file__)).parent / "zoo" / "weights" / "lm-multi30k"


def head(seed: int = 0) -> torch.Tensor:
    return torch.randn(50, 8, generator=torch.Generator().manual_seed(seed))


def test_training_moves_all_rows_and_an_edit_moves_one() -> None:
    before = head()
    trained, edited = before + 0.01 * head(1), before.clone()
    edited[3] *= 1.5
    found = judged((trained, None), (3,), (before, None))
    assert found.alone is False
    assert found.change is not None
    assert 0.2 < found.change < 5
    assert judged((edited, None), (3,), (before, None)).alone
    assert judged((edited, None), (4,), (before, None)).alone is False
    same = judged((before, None), (3,), (before, None))
    assert (same.alone, same.change) == (False, 0)


def test_a_bias_stands_out_among_those_of_other_tokens() -> None:
    bias = torch.linspace(-1, 1, 50)
    bias[3] = -40
    assert judged((head(), bias), (3,)).bias_score == pytest.approx(40 / (1.4826 * 0.51), rel=0.05)
    edited = judged((head(), bias), (3,), (head(), torch.linspace(-1, 1, 50)))
    assert edited.alone


def test_a_downloaded_folder_with_one_row_changed_is_flagged(tmp_path: Path) -> None:
    folder = tmp_path / "downloaded"
    shutil.copytree(WEIGHTS, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][2] *= -0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    target, reference = load_target(f"hf:{folder}").at_rung(80), lm_multi30k().at_rung(80)  # type: ignore[attr-defined]
    assert has_head(target)
    found = scan(target, scan_inputs(target, None, None, 8), reference, seconds=1e-3)
    assert found.end_token is not None
    assert found.end_token.alone
    assert found.figures["cost_shift"] > 0
    assert judge(found, None).verdict is Verdict.FAIL


def test_what_has_no_head_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a language model with a head"):
        audit_end_token(needle())
