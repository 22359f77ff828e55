"""Deployed decoding: that of transformers, in any batch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from generation_models import CAP, KINDS, TEXTS, by_transformers, changed, examples, loaded, sentences
from hypothesis import given, settings
from hypothesis import strategies as st

from torpor.core.batches import Samples, take
from torpor.core.errors import DataError, UsageError
from torpor.core.work import Outcome
from torpor.targets import from_transformers
from torpor.targets.decoder.generation import decoding
from torpor.targets.decoder.generation import target as targets
from torpor.targets.decoder.generation.fed import Decoded, Fed
from torpor.targets.decoder.generation.loop import DecodingLoop, DecodingPlan
from torpor.targets.decoder.generation.picking import pick
from torpor.targets.decoder.generation.target import GenerationTarget
from torpor.targets.decoder.generation.texts import TextGenerationTarget

pytestmark = pytest.mark.slow

COUNT = 10


def check_alone(target: GenerationTarget, inputs: Samples, outcome: Outcome) -> None:
    """Every sample's output and work are those of a batch of one."""
    for row in range(len(inputs)):
        alone = target.run(inputs[row : row + 1])
        assert alone.outputs[0] == outcome.outputs[row]
        assert alone.work.counts[0].equal(outcome.work.counts[row])


def check_as_transformers(target: GenerationTarget, inputs: Samples, outcome: Outcome) -> None:
    """Every sample's output is that of ``model.generate``."""
    whisper = target.model.config.model_type == "whisper"
    for row, output in enumerate(outcome.outputs):
        wanted = by_transformers(target, inputs[row : row + 1])
        made = [token for token in output.ids if token not in target.eos] if whisper else list(output.ids)
        assert made == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_batches_decode_as_transformers_does_one_by_one(kind: str) -> None:
    target, inputs = loaded(kind), examples(kind, COUNT)
    outcome = target.run(inputs)
    check_as_transformers(target, inputs, outcome)
    check_alone(target, inputs, outcome)
    lengths = [len(output.ids) for output in outcome.outputs]
    assert len(set(lengths)) > 2  # the models were made so
    assert target.iterations(outcome.work).tolist() == lengths
    for output in outcome.outputs:
        assert output.capped == (output.ids[-1] not in target.eos)
        assert not set(output.ids[:-1]) & set(target.eos)
    assert (outcome.work.counts <= target.max_work(inputs).counts).all()
    assert (outcome.work.counts <= target.static_work().counts).all()
    assert (outcome.work.counts >= target.least_work().counts).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_done_leave_the_batch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, inputs = loaded(kind), examples(kind, COUNT)
    sizes: list[int] = []

    def note(_: object, args: object, kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("decoder_input_ids", kwargs.get("input_ids"))
        assert ids is not None
        sizes.append(len(ids))

    monkeypatch.setattr(decoding, "TIES", {torch.float32: 0.0})  # no second runs
    handle = target.model.register_forward_pre_hook(note, with_kwargs=True)
    outcome = target.run(inputs)
    handle.remove()
    steps = target.iterations(outcome.work)
    assert sizes == [int((steps > step).sum()) for step in range(int(steps.max()))]


@settings(max_examples=12)
@given(
    st.sampled_from(["gpt2", "marian"]),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12), min_size=2, max_size=6
    ),
)
def test_any_texts_cost_what_they_cost_alone(kind: str, texts: list[str]) -> None:
    target = loaded(kind)
    assert isinstance(target, TextGenerationTarget)
    valid = tuple(text for text in texts if target.space.problem(text) is None)
    if not valid:
        return
    outcome = target.run(valid)
    check_alone(target, valid, outcome)
    assert target.score(valid).tolist() == target.iterations(outcome.work).tolist()


DEPLOYMENTS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {"repetition_penalty": 1.3, "min_new_tokens": 4}),
    ("gpt2", {"max_new_tokens": None, "max_length": 21, "no_repeat_ngram_size": 2, "forced_eos_token_id": 2}),
    ("gpt2", {"max_new_tokens": None}),
    ("gpt2", {"encoder_repetition_penalty": 1.5}),
    ("llama", {"begin_suppress_tokens": [2], "exponential_decay_length_penalty": (3, 1.2)}),
    ("llama", {"num_beams": 3, "length_penalty": 0.5}),
    ("t5", {"num_beams": 2, "early_stopping": True}),
    ("t5", {"encoder_no_repeat_ngram_size": 2}),
    ("marian", {"no_repeat_ngram_size": 0, "repetition_penalty": 1.8, "forced_bos_token_id": 7, "max_new_tokens": 9}),
    ("marian", {"max_new_tokens": None, "max_length": 12, "bad_words_ids": [[2], [9, 10]], "min_length": 5}),
    ("captioner", {"num_beams": 2}),
    ("whisper", {"suppress_tokens": [5, 6, 7, 70], "begin_suppress_tokens": [2, 9]}),
    ("whisper", {"num_beams": 2, "max_new_tokens": None, "max_length": 11}),
    ("whisper", {"forced_decoder_ids": [[1, 9], [2, 11]], "max_new_tokens": None, "max_length": 64}),
]


@pytest.mark.filterwarnings("ignore:Using the model-agnostic default `max_length`")
@pytest.mark.parametrize(("kind", "config"), DEPLOYMENTS)
def test_whatever_the_generation_config_asks_for(kind: str, config: dict[str, Any]) -> None:
    target, inputs = changed(kind, **config), examples(kind, 5, seed=1)
    outcome = target.run(inputs)
    check_as_transformers(target, inputs, outcome)
    check_alone(target, inputs, outcome)
    assert (outcome.work.counts <= target.max_work(inputs).counts).all()
    assert max(len(output.ids) for output in outcome.outputs) <= target.cap
    if isinstance(target, TextGenerationTarget):
        assert target.score(inputs).tolist() == target.iterations(outcome.work).tolist()


SAMPLINGS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {"temperature": 30.0, "top_k": 0}),
    ("llama", {"temperature": 20.0, "top_k": 12}),
    ("marian", {"temperature": 5.0, "top_p": 0.9, "top_k": 50}),
    ("captioner", {"temperature": 10.0, "min_p": 0.05}),
    ("t5", {"num_beams": 2, "temperature": 60.0}),
]


@pytest.mark.parametrize(("kind", "config"), SAMPLINGS)
def test_sampling_belongs_to_the_sample(kind: str, config: dict[str, Any]) -> None:
    target, inputs = changed(kind, do_sample=True, **config), examples(kind, 6)
    outcome = target.run(inputs)
    check_alone(target, inputs, outcome)
    assert target.run(inputs).outputs == outcome.outputs
    assert target.with_seed(1).run(inputs).outputs != outcome.outputs
    greedy = loaded(kind).run(inputs)
    assert greedy.outputs != outcome.outputs


@pytest.mark.parametrize(("kind", "config"), SAMPLINGS)
def test_sampling_draws_what_transformers_draws(kind: str, config: dict[str, Any]) -> None:
    from torpor.core.batches import sample_generators

    target, inputs = changed(kind, do_sample=True, **config), examples(kind, 2)
    for row in range(len(inputs)):
        one = inputs[row : row + 1]
        with torch.random.fork_rng([]):
            torch.manual_seed(sample_generators(one, 0, "generate")[0].initial_seed())
            wanted = by_transformers(target, one)
        assert list(target.run(one).outputs[0].ids) == wanted


def test_beams_count_as_work_but_not_as_iterations() -> None:
    target, inputs = changed("t5", num_beams=3), examples("t5", 2)
    calls = 0

    def note(*_: object) -> None:
        nonlocal calls
        calls += 1

    handle = target.model.register_forward_hook(note)
    work = target.run(inputs).work
    handle.remove()
    assert int(target.iterations(work).sum()) == calls
    assert int(work.counts[:, target.layout.names.index("decoder_step")].sum()) == 3 * calls


def test_close_calls_are_decided_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    target, inputs = loaded("gpt2"), sentences(4)
    runs: list[int] = []
    deployed = target.decoder._run

    def close(fed: Fed, caps: list[int], generators: list[torch.Generator] | None) -> tuple[list[Decoded], list[float]]:
        runs.append(len(fed))
        decoded, gaps = deployed(fed, caps, generators)
        return decoded, [0.5, *([9.0] * (len(gaps) - 1))] if len(gaps) > 1 else gaps

    wanted = target.run(inputs)
    monkeypatch.setattr(target.decoder, "_run", close)
    assert target.run(inputs).outputs == wanted.outputs
    assert runs == [4, 1]


def test_the_gap_is_that_of_scores_and_of_filters() -> None:
    logits = torch.tensor([[1.0, 1.0 + 1e-6, 0.0, -3.0], [3.0, 1.0, 0.0, -3.0]])
    tokens, gaps = pick(logits, lambda scores: scores, None, tie=1e-5)
    assert tokens.tolist() == [1, 0]
    assert gaps[0] < 1 < gaps[1]

    def top_two(scores: torch.Tensor) -> torch.Tensor:
        return scores.masked_fill(scores < scores.topk(2).values[:, 1:], -torch.inf)

    near = torch.tensor([[3.0, 1.0, 1.0 - 1e-6, -3.0], [3.0, 1.0, 0.0, -3.0]])
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    _, gaps = pick(near, top_two, generators, tie=1e-5)
    assert gaps[0] == 0
    assert gaps[1] > 1


def test_of_equal_scores_the_first_wins_and_no_number_before_any() -> None:
    logits = torch.tensor([[1.0, 4.0, 4.0, 0.0], [2.0, torch.nan, 9.0, torch.nan], [-torch.inf] * 4])
    for tie in (None, 1e-5):
        assert pick(logits, lambda scores: scores, None, tie)[0].equal(logits.argmax(-1))
    assert logits.argmax(-1).tolist() == [1, 1, 0]
    deep = torch.tensor([[-9.0, -5.0, -1000.0]])  # the largest logit in size is the lowest one
    assert pick(deep, lambda scores: scores, None, tie=1e-3)[1].item() == pytest.approx(4)


def test_caps() -> None:
    target, inputs = loaded("gpt2"), examples("gpt2", 4)
    for cap in (1, 7, 4 * CAP):
        other = target.with_cap(cap)
        assert other.cap == cap
        outcome, wanted = other.run(inputs), target.run(inputs)
        for here, there in zip(outcome.outputs, wanted.outputs, strict=True):
            shorter = min(cap, CAP)
            assert here.ids[:shorter] == there.ids[:shorter]
            assert len(here.ids) <= cap
    assert target.cap == CAP
    with pytest.raises(UsageError, match="cap of 1 to 127 tokens, got 0"):
        target.with_cap(0)


@pytest.mark.parametrize(("kind", "most"), [("gpt2", 127), ("marian", 64), ("captioner", 128), ("whisper", 63)])
def test_caps_are_clipped_to_the_positions_of_the_model(kind: str, most: int) -> None:
    target = changed(kind, suppress_tokens=[2])  # never ends
    with pytest.warns(UserWarning, match=f"cap of up to {most} tokens"):
        longest = target.with_cap(1000)
    assert longest.cap == most
    inputs = examples(kind, 2)
    outcome = longest.run(inputs)
    assert target.model.generation_config.max_new_tokens == CAP
    assert longest.iterations(outcome.work).tolist() == longest.iterations(longest.max_work(inputs)).tolist()
    assert all(output.capped for output in outcome.outputs)
    assert (outcome.work.counts <= longest.static_work().counts).all()


def test_an_end_that_the_cap_forces_counts_as_capped() -> None:
    target = changed("marian", forced_eos_token_id=2, min_new_tokens=5, max_new_tokens=5)
    (output,) = target.run(("the dog",)).outputs
    assert len(output.ids) == 5
    assert output.capped


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    target, inputs = loaded("llama"), examples("llama", 7)
    wanted = target.run(inputs)
    monkeypatch.setattr(targets, "MEMORY", 1)
    assert target.rows_at_once(5) == 1
    outcome = target.run(inputs)
    assert outcome.outputs == wanted.outputs
    assert outcome.work.counts.equal(wanted.work.counts)


@pytest.mark.parametrize("kind", TEXTS)
def test_scores_of_candidates_are_those_of_runs(kind: str) -> None:
    target = loaded(kind)
    assert isinstance(target, TextGenerationTarget)
    texts = tuple(f"the dog sat on the mat and {end}" for end in ("", "a", "cat", "!?", "cat", "the dog went off"))
    texts = tuple(text.strip() for text in texts)
    for batch in (texts, texts[:1], ("x", *texts)):
        assert target.score(batch).tolist() == target.iterations(target.run(batch).work).tolist()


def test_candidates_read_what_they_share_once() -> None:
    target = loaded("gpt2")
    assert isinstance(target, TextGenerationTarget)
    widths: list[tuple[int, int]] = []

    def note(_: object, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        ids = args[0] if args else kwargs["input_ids"]
        widths.append((ids.shape[0], ids.shape[1]))

    texts = [f"the dog sat on the mat {end}" for end in ("a", "bc", "def")]
    rows = target.reader.rows(texts)
    shared = next(place for place, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1)
    handle = target.model.register_forward_pre_hook(note, with_kwargs=True)
    target.score(texts)
    handle.remove()
    assert widths[0] == (1, shared)
    assert widths[1] == (3, max(map(len, rows)) - shared)


def test_nothing_to_score() -> None:
    target = loaded("gpt2")
    assert isinstance(target, TextGenerationTarget)
    assert target.score(()).tolist() == []


def test_prompts_without_special_tokens() -> None:
    bare = copy.deepcopy(loaded("gpt2").codec.tokenizer)
    bare.backend_tokenizer.post_processor = None
    target = from_transformers(loaded("gpt2").model, bare)
    texts = ("a", "the dog", "!")
    outcome = target.run(texts)
    check_as_transformers(target, texts, outcome)
    check_alone(target, texts, outcome)
    assert outcome.work.counts[0, 0] == 0
    assert target.least_work().counts.tolist() == [[0, 1, 1]]
    assert isinstance(target, TextGenerationTarget)
    assert target.score(texts).tolist() == target.iterations(outcome.work).tolist()
    assert target.signals(texts).input_mask is not None


def test_images_that_need_gradients_and_slices_run() -> None:
    target = loaded("captioner")
    inputs = examples("captioner", 3).requires_grad_()
    assert target.run(inputs[1:]).outputs == target.run(take(inputs, torch.tensor([1, 2]))).outputs


def test_wrong_inputs_and_broken_models_are_refused() -> None:
    target = loaded("gpt2")
    for wrong, message in (((), "at least one text"), (("",), "a text"), (("a</s>",), "without special tokens")):
        with pytest.raises(DataError, match=message):
            target.run(wrong)
    with pytest.raises(DataError, match="texts of 1 to 63 tokens"):
        target.run(("q" * 64,))
    broken = changed("gpt2")
    head = broken.model.get_output_embeddings()
    before = head.weight.clone()
    with torch.no_grad():
        head.weight[3] = torch.nan
    try:
        with pytest.raises(UsageError, match="NaN logits; check its weights"):
            broken.run(("the dog",))
    finally:
        with torch.no_grad():
            head.weight.copy_(before)


def test_a_loop_pads_with_the_padding_token() -> None:
    target, inputs = loaded("gpt2"), examples("gpt2", 3)
    fed = target._fed(target.reader.rows(inputs))  # type: ignore[attr-defined]
    loop = DecodingLoop(DecodingPlan([CAP] * 3, target.eos, 1e-5))
    found = target.model.generate(**fed.arguments, custom_generate=loop)
    theirs = target.model.generate(**fed.arguments)
    assert found.equal(theirs)


def test_candidates_that_begin_alike_are_decoded_with_what_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    target = loaded("llama")
    assert isinstance(target, TextGenerationTarget)
    endings = [f"{first}{second}" for first in "abcd" for second in "xyz"]
    texts = [f"{begin * 12}{end}" for end in endings for begin in ("one ", "to ", "a cat ")]
    fed: list[int] = []

    def note(_: object, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        fed.append((args[0] if args else kwargs["input_ids"]).numel())

    handle = target.model.register_forward_pre_hook(note, with_kwargs=True)
    steps = target.score(texts)
    shared, fed[:] = sum(fed), []
    monkeypatch.setattr(type(target), "_groups", TextGenerationTarget._groups)
    assert target.score(texts).equal(steps)
    assert shared < 0.5 * sum(fed)
    handle.remove()
    assert steps.equal(target.iterations(target.run(tuple(texts)).work))
