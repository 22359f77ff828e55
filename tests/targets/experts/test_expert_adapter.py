"""Mixtures of experts of transformers other than Mixtral: loads, outputs and FLOPs by another road."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from expert_targets import CHOSEN, EXPERTS, TEXTS, tokenizer

from torpor.core.errors import UsageError
from torpor.meters.flops import counting
from torpor.targets.experts.adapter import expert_parallel
from torpor.targets.experts.target import ExpertTarget
from torpor.targets.resolve import load_target

KINDS: dict[str, dict[str, Any]] = {
    "Olmoe": {},
    "Qwen2Moe": {"shared_expert_intermediate_size": 20, "moe_intermediate_size": 12},
    "Qwen3Moe": {"moe_intermediate_size": 12, "mlp_only_layers": [1], "head_dim": 8, "norm_topk_prob": True},
}
"""What each has beside the others: Qwen2's shared expert, and a layer without experts in between."""


def model(kind: str) -> Any:  # noqa: ANN401 - transformers' own classes
    """Return a small random model with two layers of experts."""
    transformers: Any = pytest.importorskip("transformers")
    torch.manual_seed(5)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer()),
        hidden_size=16,
        intermediate_size=12,
        num_hidden_layers=3 if "mlp_only_layers" in KINDS[kind] else 2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_experts=EXPERTS,
        num_experts_per_tok=CHOSEN,
        max_position_embeddings=96,
        initializer_range=0.4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **KINDS[kind],
    )
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


def adapted(known: Any) -> ExpertTarget:  # noqa: ANN401
    return expert_parallel(copy.deepcopy(known), tokenizer(), devices=4, longest=48)


@pytest.mark.parametrize("kind", list(KINDS))
def test_outputs_and_loads_are_those_of_transformers(kind: str) -> None:
    known = model(kind)
    target = adapted(known)
    outcome = target.run(TEXTS)
    ran, loads = target.balance(outcome.work), target.loads(outcome.work)
    for row, text in enumerate(TEXTS):
        with torch.no_grad():
            said = known(torch.tensor([tokenizer()(text).input_ids]), output_router_logits=True)
        assert torch.allclose(outcome.outputs[row], said.logits[0, -1], atol=1e-5)
        busiest, routed = 0, [scores for scores in said.router_logits if scores is not None]
        for layer, scores in enumerate(routed):
            chosen = Counter(expert for token in scores.topk(CHOSEN).indices.tolist() for expert in token)
            assert loads[row, layer].tolist() == [chosen[expert] for expert in range(EXPERTS)]
            busiest += max(chosen[one] + chosen[one + 1] for one in range(0, EXPERTS, 2))
        assert (int(ran["busiest"][row]), target.layer_count) == (busiest, len(routed))


@pytest.mark.parametrize("kind", list(KINDS))
def test_work_is_exact_alone_in_a_batch_and_below_the_bound(kind: str) -> None:
    target = adapted(model(kind))
    outcome = target.run(TEXTS)
    for row in range(len(TEXTS)):
        with counting() as counter:
            alone = target.run(TEXTS[row : row + 1])
        assert alone.work.counts.equal(outcome.work.counts[row : row + 1])
        tokens, assigned = int(alone.work.counts[0, 1]), int(target.balance(alone.work)["assigned"])
        assert counter.flops == target.grown.at(tokens) + assigned * target.of_expert
    assert (outcome.work.counts <= target.max_work(TEXTS).counts).all()
    assert target.name == {"Olmoe": "olmoe", "Qwen2Moe": "qwen2_moe", "Qwen3Moe": "qwen3_moe"}[kind]


def test_a_saved_model_is_loaded_by_its_folder_and_wrong_options_are_refused(tmp_path: Path) -> None:
    known = model("Qwen3Moe")
    known.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    target: Any = load_target(f"hf:{tmp_path}:devices=4")
    assert target.run(TEXTS).work.counts.equal(adapted(known).run(TEXTS).work.counts)
    assert (target.name, target.placement.devices) == (tmp_path.name, 4)
    for said, wrong in (
        ("devices=3", "divides the 8 experts, got 3"),
        ("devices=0", "divides the 8 experts, got 0"),
        ("devices=4:cap=8", "without assistant, lookup or cap"),
    ):
        with pytest.raises(UsageError, match=wrong):
            load_target(f"hf:{tmp_path}:{said}")
    templated = copy.deepcopy(tokenizer())
    templated.chat_template = "{% for turn in messages %}{{ turn.content }}{% endfor %}"
    templated.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="raw=true beside devices=4"):
        load_target(f"hf:{tmp_path}:devices=4")
    assert load_target(f"hf:{tmp_path}:devices=4:raw=true").units == target.units


def test_a_model_of_the_kind_without_experts_is_refused() -> None:
    known = model("Qwen3Moe")
    for layer in known.model.layers:
        layer.mlp = known.model.layers[1].mlp
    with pytest.raises(UsageError, match="a model with layers of experts, got Qwen3MoeForCausalLM"):
        expert_parallel(known, tokenizer(), devices=4)
