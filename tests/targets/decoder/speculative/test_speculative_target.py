"""Speculative decoding: the output of plain decoding, its work to the FLOP, and a bound that holds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from draft_targets import drafting, language_model, looking_up, noisy
from generation_models import changed, folder, sentences

from torpor.core.errors import UsageError
from torpor.core.stopwatch import OutOfTime, Stopwatch
from torpor.core.work import Work
from torpor.targets import from_transformers
from torpor.targets.decoder.generation.pricing import forwards_counted
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.targets.decoder.speculative.drafters import NGRAM, LookupDrafter
from torpor.targets.decoder.speculative.target import SpeculativeTarget
from torpor.targets.resolve import load_target

TEXTS = (*sentences(10), "the dog the cat sat on the mat and the dog the cat")
MAKES: dict[str, Callable[[], SpeculativeTarget]] = {
    "llama": drafting,
    "one draft": lambda: drafting(drafts=1),
    "gpt2": lambda: drafting("gpt2", drafts=4),
    "look-up": looking_up,
}


@pytest.fixture(params=list(MAKES))
def target(request: pytest.FixtureRequest) -> SpeculativeTarget:
    return MAKES[request.param]()


def test_outputs_are_those_of_plain_decoding_and_guesses_are_accepted_and_rejected(target: SpeculativeTarget) -> None:
    outcome, plain = target.run(TEXTS), target.large.run(TEXTS)
    assert outcome.outputs == plain.outputs
    ran = target.rounds(outcome.work)
    if target.small is not None:
        assert 0 < int(ran["accepted"].sum()) < int(ran["drafted"].sum())
    assert (ran["passes"] <= target.iterations(outcome.work)).all()
    assert (ran["accepted"] + ran["passes"] - target.iterations(outcome.work)).unique().tolist() in ([0], [0, 1])


def test_flops_are_those_of_the_counter(target: SpeculativeTarget) -> None:
    models = [part.model for part in (target.large, target.small) if part is not None]
    for text in TEXTS[:3]:
        outcome, found = target.run((text,)), 0
        for model in models:
            with forwards_counted(model) as total:
                target.run((text,))
            found += sum(total)
        assert int(target.prices.cost(outcome.work)) == found


def test_no_run_exceeds_the_bound_with_a_guard_or_without(target: SpeculativeTarget) -> None:
    most = target.max_work(TEXTS).counts
    assert (most <= target.static_work().counts).all()
    assert (target.run(TEXTS).work.counts <= most).all()
    for allowance in (0, 3, 12):
        guarded = target.with_allowance(allowance)
        bound = guarded.max_work(TEXTS).counts
        assert (bound <= most).all()
        assert (guarded.run(TEXTS).work.counts <= bound).all()
        assert guarded.run(TEXTS).outputs == target.run(TEXTS).outputs
    assert (target.least_work().counts <= target.run(TEXTS).work.counts).all()


def test_rejecting_everything_is_the_bound() -> None:
    target = drafting()
    prompt = target.large.reader.rows(TEXTS[:1])[0]
    for allowance in (None, 0, 5):
        one = target if allowance is None else target.with_allowance(allowance)
        spoken = one._speak(prompt, one.cap, forced=0)
        counted = torch.tensor(one._counts(len(prompt), spoken))
        bound = one.max_work(TEXTS[:1]).counts[0]
        assert (counted <= bound).all()
        if allowance is None:
            work = one.goal(Work(counted[None])), one.goal(Work(bound[None]))
            assert int(work[0]) == pytest.approx(int(work[1]), rel=3e-2)


def test_a_batch_is_batches_of_one_and_candidates_score_what_they_cost(target: SpeculativeTarget) -> None:
    for one in (target, target.with_allowance(3)):
        together = one.run(TEXTS)
        alone = [one.run((text,)) for text in TEXTS]
        assert together.work.counts.equal(torch.cat([outcome.work.counts for outcome in alone]))
        assert together.outputs == tuple(outcome.outputs[0] for outcome in alone)
        assert one.score((*TEXTS, TEXTS[0])).tolist() == [
            *one.goal(together.work).tolist(),
            int(one.goal(alone[0].work)),
        ]
        assert int(one.score(TEXTS).max()) <= one.most_goal


def test_passes_and_outputs_are_those_of_assisted_generation_by_transformers() -> None:
    target = drafting(drafts=3)
    assert target.small is not None
    small, large = target.small.model, target.large.model
    small.generation_config.num_assistant_tokens = 3
    small.generation_config.num_assistant_tokens_schedule = "constant"
    small.generation_config.assistant_confidence_threshold = 0.0
    for text in TEXTS[:5]:
        given = target.codec.tokenizer(text, return_tensors="pt")
        ids = given["input_ids"]
        with forwards_counted(large) as passes:
            found = large.generate(ids, attention_mask=torch.ones_like(ids), assistant_model=small)
        outcome = target.run((text,))
        assert found[0, ids.shape[1] :].tolist() == list(outcome.outputs[0].ids)
        assert len(passes) == int(target.rounds(outcome.work)["passes"])


def test_look_up_guesses_what_transformers_looks_up() -> None:
    candidates: Any = __import__("transformers.generation.candidate_generator", fromlist=["x"])
    theirs = candidates.PromptLookupCandidateGenerator(
        num_output_tokens=3, max_matching_ngram_size=NGRAM, max_length=100, eos_token_id=None
    )
    draw = torch.Generator().manual_seed(0)
    for _ in range(40):
        ids = torch.randint(4, (1, 9), generator=draw)
        found = theirs.get_candidates(ids)[0][0, 9:].tolist()
        assert LookupDrafter(()).guess(ids[0].tolist(), 3).tokens == found


def test_signals_have_gradients_of_both_models() -> None:
    target = drafting()
    signals = target.signals(TEXTS[:2])
    assert signals.draft_logits is not None
    assert signals.embeddings is not None
    assert signals.logits.shape == signals.draft_logits.shape
    (gradient,) = torch.autograd.grad(signals.logits.sum() + signals.draft_logits.square().sum(), signals.embeddings)
    own, drafting_part = target._split(gradient)
    assert own.abs().sum() > 0
    assert drafting_part.abs().sum() > 0
    assert signals.work.counts.equal(target.run(TEXTS[:2]).work.counts)
    assert looking_up().signals(TEXTS[:1]).draft_logits is None


def test_a_search_may_be_ended() -> None:
    watch = Stopwatch()
    target = drafting().until(watch)
    watch.begin(0.0)
    with pytest.raises(OutOfTime):
        target.run(TEXTS)
    with pytest.raises(OutOfTime):
        target.score(TEXTS)
    watch.begin(2.0**40)
    goals = target.score(TEXTS)
    assert watch.steps == int(goals.max())
    assert watch.forwards == len(set(TEXTS))


def test_probes_do_what_they_say_and_a_cap_holds() -> None:
    target = drafting().with_cap(6)
    assert target.cap == 6
    assert target.iterations(target.run(TEXTS).work).max() <= 6
    for work, call in target.probes(TEXTS[:1]):
        call()
        assert (work.counts >= 0).all()


def test_saved_models_draft_by_options() -> None:
    where = folder("llama")
    itself = load_target(f"hf:{where}:assistant={where}:drafts=3")
    assert itself.run(TEXTS[:2]).outputs == language_model().run(TEXTS[:2]).outputs
    rounds: Any = itself
    ran = rounds.rounds(itself.run(TEXTS[:2]).work)
    assert ran["accepted"].equal(ran["accepted"].clamp_min(1))
    assert load_target(f"hf:{where}:lookup=4:cap=5").details()["drafter"] == "prompt look-up"


def test_what_does_not_fit_is_refused() -> None:
    llama, marian = folder("llama"), folder("marian")
    for option, message in (
        ("lookup=0", "1 to 64 drafted tokens"),
        (f"assistant={marian}", "expected language models that continue texts"),
        (f"assistant={llama}:lookup=3", "expected assistant or lookup, got both"),
        ("drafts=3", "expected an assistant beside drafts"),
    ):
        with pytest.raises(UsageError, match=message):
            load_target(f"hf:{llama}:{option}")
    sampled = changed("llama", do_sample=True)
    assert isinstance(sampled, PromptTarget)
    with pytest.raises(UsageError, match="expected greedy decoding"):
        SpeculativeTarget(sampled, None, drafts=2, name="x")
    with pytest.raises(UsageError, match="with the tokenizer of"):
        SpeculativeTarget(language_model(), _other(), drafts=2, name="x")


def _other() -> PromptTarget:
    """Return a model whose tokenizer has another token."""
    large = language_model()
    tokenizer = copy.deepcopy(large.codec.tokenizer)
    vocabulary = dict(tokenizer.get_vocab())
    word = next(iter(vocabulary))
    tokenizer.get_vocab = lambda: {**vocabulary, word: vocabulary[word] + 1}
    found = from_transformers(noisy(large).model, SimpleNamespace(tokenizer=tokenizer), name="other")
    assert isinstance(found, PromptTarget)
    return found
