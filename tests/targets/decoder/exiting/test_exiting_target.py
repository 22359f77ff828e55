"""Tokens that leave early: what they cost to the FLOP, what they leave for others, and gradients of their margins."""

from __future__ import annotations

import pytest
import torch
from draft_targets import exiting, language_model
from generation_models import changed, sentences
from torch import Tensor

from torpor.attacks.text.late_exits import LateExits, leaving
from torpor.core.errors import UsageError
from torpor.meters.flops import counting
from torpor.targets.decoder.exiting.depths import LayerStack, write
from torpor.targets.decoder.exiting.target import ExitingTarget
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.zoo.networks.exit_heads import ExitHeads

TEXTS = sentences(8)


def test_flops_are_those_of_the_counter_and_no_run_exceeds_the_bound() -> None:
    target = exiting()
    outcome, most = target.run(TEXTS), target.max_work(TEXTS).counts
    with counting() as counter:
        target.run(TEXTS)
    assert int(target.prices.cost(outcome.work).sum()) == counter.flops
    assert (outcome.work.counts <= most).all()
    assert (most <= target.static_work().counts).all()
    assert (target.least_work().counts <= outcome.work.counts).all()
    early = target.iterations(outcome.work) - 1
    assert (target.layers_of(outcome.work) < target.layers * early).any()


def test_nothing_leaves_a_model_that_is_never_sure_enough() -> None:
    sure = exiting(1 - 1e-12)
    outcome = sure.run(TEXTS)
    assert outcome.outputs == sure.large.run(TEXTS).outputs
    assert sure.layers_of(outcome.work).equal(sure.layers * (sure.iterations(outcome.work) - 1))


def test_a_batch_is_batches_of_one_and_candidates_score_what_they_cost() -> None:
    target = exiting()
    together, alone = target.run(TEXTS), [target.run((text,)) for text in TEXTS]
    assert together.work.counts.equal(torch.cat([outcome.work.counts for outcome in alone]))
    assert target.score(TEXTS).equal(target.goal(together.work))
    assert int(target.score(TEXTS).max()) <= target.most_goal


def test_signals_follow_the_output_and_say_where_each_token_left() -> None:
    target = exiting()
    signals = target.signals(TEXTS)
    assert signals.margins is not None
    assert signals.checked is not None
    assert signals.work.counts.equal(target.run(TEXTS).work.counts)
    assert (signals.logits.argmax(-1) == signals.ids)[signals.mask].all()
    left = ((signals.margins >= 0) & signals.checked & signals.mask.unsqueeze(-1)).sum((1, 2))
    assert left.equal(signals.work.counts[:, -1])
    assert signals.embeddings is not None
    (gradient,) = torch.autograd.grad(leaving(signals).sum(), signals.embeddings)
    assert gradient.abs().sum() > 0


def test_layers_above_an_exit_get_keys_and_values_of_the_state_that_left() -> None:
    large = language_model()
    stack = LayerStack(large.model, exiting().exits)
    row, kept = large.reader.rows(TEXTS[:1])[0], list[Tensor]()
    plain = stack.copy

    def noting(number: int, states: Tensor, turns: tuple[Tensor, Tensor], cache: object) -> None:
        plain(number, states, turns, cache)
        kept.append(cache.layers[number].values[0, :, -1])  # type: ignore[attr-defined]
        layer = large.model.model.layers[number]
        wanted = layer.self_attn.v_proj(layer.input_layernorm(states))[0, 0]
        assert torch.allclose(kept[-1].flatten(), wanted)
        assert cache.get_seq_length(number) == cache.get_seq_length(0)  # type: ignore[attr-defined]

    stack.copy = noting  # type: ignore[method-assign]
    written = write(stack, row, 5, (), 0.0, forced=1)
    assert written.depths == (2, 1, 1, 1, 1)
    assert len(kept) == 4


def test_late_exits_costs_more_than_the_clean_text() -> None:
    target = exiting()
    result = LateExits(steps=2, candidates=8, eps=4)(target, TEXTS[:2])
    assert (target.goal(result.attacked.work) > target.goal(result.clean.work)).any()
    with pytest.raises(UsageError, match="weight of 0 or more"):
        LateExits(ending=-1)


def test_what_has_no_exits_is_refused() -> None:
    large = language_model()
    heads = ExitHeads(large.model.config.hidden_size, 1)
    with pytest.raises(UsageError, match="between 0 and 1"):
        ExitingTarget(large, heads, sure=1.0, name="x")
    with pytest.raises(UsageError, match="expected 1 exits for 2 layers, got 3"):
        ExitingTarget(large, ExitHeads(32, 3), sure=0.5, name="x")
    sampled = changed("llama", do_sample=True)
    assert isinstance(sampled, PromptTarget)
    with pytest.raises(UsageError, match="greedy decoding"):
        ExitingTarget(sampled, heads, sure=0.5, name="x")
    with pytest.raises(UsageError, match="Llama-like"):
        ExitingTarget(language_model("gpt2"), heads, sure=0.5, name="x")
