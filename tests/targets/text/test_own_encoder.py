"""A user's own multi-exit BERT."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torpor.attacks.registry import load_attack
from torpor.audits.contract.suite import contract_of
from torpor.audits.contract.trial import Trial
from torpor.core.errors import UsageError
from torpor.data.sets import Batch
from torpor.meters.flops import counting
from torpor.targets.early_exit.exit_rules import Confidence
from torpor.targets.text.adapter import multi_exit_bert
from torpor.targets.text.exits import TextExitTarget
from torpor.zoo.language.tokenizer import BYTES_ONLY, train_tokenizer

TEXTS = ("A man sleeps.", "Two dogs run in the snow.", "Where?", "A naïve child.")


class Pooled(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.linear(tokens[:, 0]) * 8
        return logits


def parts() -> tuple[Any, Any, list[nn.Module]]:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=BYTES_ONLY,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    return model, train_tokenizer([], BYTES_ONLY, "decoder-only"), [Pooled(16) for _ in range(3)]


def own(rule: str = "confidence:0.85") -> TextExitTarget:
    return multi_exit_bert(*parts(), rule, name="own")


def test_a_bert_of_transformers_runs_up_to_its_exit() -> None:
    model, tokenizer, heads = parts()
    target = multi_exit_bert(model, tokenizer, heads, "confidence:0.85")
    sure = target.signals(TEXTS).exit_logits[:, 0].softmax(-1).amax(-1).sort().values
    target = target.with_rule(Confidence(sure[1:3].mean().item()))  # two texts leave at once
    whole = target.run(TEXTS)
    taken = target.exits(whole.work)
    assert len(set(taken.tolist())) > 1
    for row, text in enumerate(TEXTS):
        with counting() as counter, torch.no_grad():
            alone = target.run((text,))
        assert target.prices.cost(alone.work).item() == counter.flops
        assert alone.work.counts.equal(whole.work.counts[row : row + 1])
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
            expected = heads[int(taken[row])](hidden[int(taken[row]) + 1])
        assert torch.allclose(whole.outputs[row], expected[0], atol=1e-5)


def test_attacks_take_it() -> None:
    target = own()
    result = load_attack("same", norm="chars", eps=2)(target, TEXTS, seed=0)
    assert (target.prices.cost(result.attacked.work) >= target.prices.cost(result.clean.work)).all()
    assert result.candidates.backwards.min() >= 1


def test_check_target_accepts_it() -> None:
    own_target = own()
    batch = Batch(torch.arange(len(TEXTS)), TEXTS, ())
    found = {line.check: line for line in contract_of(Trial(own_target, batch, own))}
    assert [str(line) for line in found.values() if line.verdict == "fail"] == []
    assert found["sign of margins"].verdict == "pass"


def test_padding_of_an_earlier_call_leaves_the_fingerprint() -> None:
    model, tokenizer, heads = parts()
    tokenizer(list(TEXTS), padding=True, truncation=True, max_length=8)  # as in training
    target = multi_exit_bert(model, tokenizer, heads, "entropy:0.3")
    before = target.fingerprint()
    target.run(TEXTS)
    assert target.fingerprint() == before


def test_models_without_such_parts_are_refused() -> None:
    _, tokenizer, heads = parts()
    with pytest.raises(UsageError, match="EncoderParts"):
        multi_exit_bert(nn.Linear(2, 2), tokenizer, heads, "entropy:0.5")
    model, tokenizer, heads = parts()
    with pytest.raises(UsageError, match="as many layers as heads"):
        multi_exit_bert(model, tokenizer, heads[:2], "entropy:0.5")
