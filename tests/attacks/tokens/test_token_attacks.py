"""SlowFormer and DeSparsify on toys whose worst input is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from patched import covered
from token_toys import TOKEN_TARGETS, Bright, blackened, halting, images, sampling, usage
from torch import Tensor
from torch.nn import functional as F

from torpor.attacks.registry import load_attack
from torpor.attacks.search.balls import confine
from torpor.attacks.tokens import desparsify, slowformer
from torpor.attacks.tokens.several import Several
from torpor.core.errors import UsageError
from torpor.core.work import Work
from torpor.targets.base import Target
from torpor.targets.early_exit.toys import needle
from torpor.targets.tokens.signals import PatchHaltingSignals, SignificanceSignals, TokenSignals, UsageSignals


def tokens(target: Target, inputs: Tensor) -> Tensor:
    return target.run(inputs).work.counts[:, 1]


@pytest.mark.parametrize("make", [halting, usage])
@pytest.mark.parametrize("name", ["slowformer:steps=60", "desparsify-universal:steps=60"])
def test_a_universal_patch_does_nearly_what_the_worst_one_does(make: Callable[[], Bright], name: str) -> None:
    target, known, inputs = make(), images(40, seed=1), images()
    attack = load_attack(name, norm="patch", eps=0.25).fit(target, known, references=torch.zeros(40).long())
    result = attack(target, inputs, references=torch.zeros(len(inputs)).long())
    clean, most = (tokens(target, each).sum() for each in (inputs, blackened(inputs, 0.25)))
    found = result.attacked.work.counts[:, 1].sum()
    assert clean < found <= most
    assert found - clean >= 0.9 * (most - clean)
    sent, _ = confine(target.space, inputs, attack.search(target, inputs, Tensor(), 0).inputs, attack.budget)
    assert sent[..., :4, :4].equal(sent[:1, ..., :4, :4].expand(len(inputs), -1, -1, -1))
    assert (covered(sent - inputs) <= 0.25).all()
    assert attack.forwards_before > 0


@pytest.mark.parametrize("make", [halting, usage])
def test_desparsify_finds_what_darkness_does(make: Callable[[], Bright]) -> None:
    target, inputs = make(), images()
    result = load_attack("desparsify", eps="32/255")(target, inputs, seed=1)
    clean, found = (one.work.counts[:, 1] for one in (result.clean, result.attacked))
    most = tokens(target, (inputs - 32 / 255).clamp_min(0))
    assert (found <= most).all()
    assert (found - clean).sum() >= 0.9 * (most - clean).sum()
    assert (found > clean).any()


@pytest.mark.parametrize("name", ["desparsify", "slowformer", "desparsify-class-universal"])
def test_sampled_tokens_are_made_alike(name: str) -> None:
    target, inputs, classes = sampling(), images(), torch.arange(12) % 2
    attack = load_attack(name).fit(target, images(40, seed=1), references=torch.arange(40) % 2)
    result = attack(target, inputs, references=classes, seed=1)
    clean, found = (one.work.counts[:, 1].sum() for one in (result.clean, result.attacked))
    assert found > clean


def test_the_class_of_the_clean_image_is_kept() -> None:
    target, inputs = halting(), images()
    logits = target.signals(inputs).scores
    classes = desparsify.kept(target, inputs)
    assert classes.equal(logits.argmax(1))
    with_class, without = (desparsify.Sparsity(weight)(target.signals(inputs), classes) for weight in (2.0, 0.0))
    assert torch.allclose((with_class - without).float(), 2 * F.cross_entropy(logits, classes, reduction="none"))


@pytest.mark.parametrize("kind", TOKEN_TARGETS)
@pytest.mark.parametrize("norm", ["patch", "Linf"])
def test_a_batch_equals_its_samples(kind: str, norm: str) -> None:
    target, inputs = TOKEN_TARGETS[kind](), images(4)
    attack = load_attack("desparsify:steps=40", norm=norm, eps=0.25)
    whole = attack(target, inputs, seed=3)
    for row in range(len(inputs)):
        alone = attack(target, inputs[row : row + 1], seed=3)
        assert alone.inputs.equal(whole.inputs[row : row + 1])
        assert alone.attacked.work.counts.equal(whole.attacked.work.counts[row : row + 1])


@pytest.mark.parametrize("kind", TOKEN_TARGETS)
@pytest.mark.parametrize("loss", [slowformer.mechanism_loss, desparsify.sparsity_loss])
def test_losses_are_per_sample_and_fall_towards_more_tokens(kind: str, loss: Callable[[TokenSignals], Tensor]) -> None:
    target, inputs = TOKEN_TARGETS[kind](), images()
    whole = loss(target.signals(inputs))
    for row in range(3):
        assert torch.allclose(loss(target.signals(inputs[row : row + 1])), whole[row : row + 1])
    even = torch.zeros_like(inputs)  # all alike, and dark
    assert (loss(target.signals(even)) < whole + 1e-9).all()


def test_patches_that_have_left_leave_the_gradient_finite() -> None:
    share = torch.tensor([[[0.0, 0.25, 0.75]]], requires_grad=True)
    work = Work(torch.ones(1, 1, dtype=torch.int64))
    loss = desparsify.sparsity_loss(SignificanceSignals(None, torch.zeros(1, 0), work, significance=share))
    loss.sum().backward()
    assert share.grad is not None
    assert share.grad.isfinite().all()
    assert loss.item() == pytest.approx(0.25 * math.log(0.25) + 0.75 * math.log(0.75) + math.log(3))


@dataclass(frozen=True, eq=False)
class OtherSignals(TokenSignals):
    """Of a mechanism that nobody knows yet."""


class Other(Bright):
    def signals(self, inputs: Tensor) -> OtherSignals:
        own = super().signals(inputs)
        return OtherSignals(None, own.margins, own.work, scores=own.scores, alive=own.alive)


def test_a_mechanism_registers_its_own_loss() -> None:
    target, inputs = Other("halting"), images(4)
    with pytest.raises(UsageError, match="got OtherSignals; register a loss"):
        load_attack("desparsify:steps=2")(target, inputs)

    @desparsify.sparsity_loss.register
    def of_other(signals: OtherSignals) -> Tensor:
        return signals.margins.sum(1)

    result = load_attack("desparsify:steps=20")(target, inputs)
    assert result.attacked.work.counts.sum() > result.clean.work.counts.sum()


def test_other_mechanisms_are_refused() -> None:
    signals = TokenSignals(None, torch.zeros(1, 0), Work(torch.ones(1, 1, dtype=torch.int64)))
    with pytest.raises(UsageError, match="got TokenSignals"):
        slowformer.mechanism_loss(signals)
    for name in ("slowformer", "desparsify", "desparsify-universal"):
        with pytest.raises(UsageError, match="expected an attack on"):
            load_attack(name).check(needle())
    with pytest.raises(UsageError, match="expected norm patch"):
        load_attack("slowformer", norm="Linf")
    with pytest.raises(UsageError, match="needs references"):
        load_attack("desparsify-class-universal").fit(halting(), images())


def test_one_patch_is_made_for_several_mechanisms() -> None:
    target, known, inputs = halting(), images(40, seed=1), images()
    attack = load_attack("desparsify-universal:steps=60", norm="patch", eps=0.25, others="token_toys:usage")
    fitted = attack.fit(target, known)
    for each in (target, usage()):
        found = fitted(each, inputs).attacked.work.counts[:, 1].sum()
        clean, most = (tokens(each, some).sum() for some in (inputs, blackened(inputs, 0.25)))
        assert found - clean >= 0.9 * (most - clean) > 0
    both = Several([target, usage()], torch.Generator().manual_seed(0))
    assert {type(both.signals(inputs)) for _ in range(20)} == {PatchHaltingSignals, UsageSignals}
    counts = torch.stack([one.run(inputs).work.counts for one in both.targets]).sum(0)
    assert torch.allclose(both.attacker_cost(both.run(inputs)).float(), (counts[:, 0] + 10 * counts[:, 1]) / 641)
    with pytest.raises(UsageError, match="expected targets with the inputs of toy-halting"):
        Several([target, needle()])
