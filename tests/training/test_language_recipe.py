from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from interrupted_training import InterruptionError
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from torpor.core.errors import UsageError
from torpor.data.sets import DataSet
from torpor.training.decoders import judge
from torpor.training.forcing import teacher_forced
from torpor.training.language import LanguageRecipe, batches, perplexity, teach, train_language
from torpor.training.loop import Progress, silent
from torpor.training.teacher import smoothed_loss
from torpor.zoo.language.architectures import decoder_only, encoder_decoder
from torpor.zoo.language.numbers import Spellings
from torpor.zoo.language.registry import LanguageEntry
from torpor.zoo.language.tokenizer import BYTES_ONLY, Kind, encode, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from torpor.zoo.language.architectures import LanguageModel
    from torpor.zoo.language.tokenizer import Pair

    Task = tuple[PreTrainedTokenizerFast, list[Pair]]

RECIPE = LanguageRecipe(epochs=3, vocab_size=BYTES_ONLY, batch_tokens=600, dropout=0.2, seed=7)
ONE_PASS = replace(RECIPE, epochs=1)
KINDS: tuple[Kind, ...] = ("encoder-decoder", "decoder-only")


class Short(DataSet):
    """Two texts per split, to be continued."""

    name = "short"

    def samples(self, split: str) -> Iterator[tuple[str, str]]:
        yield from [(f"a {split}", " text"), ("b", "")]


def tiny(tokenizer: PreTrainedTokenizerFast, dropout: float) -> LanguageModel:
    build: Callable[..., LanguageModel] = encoder_decoder if tokenizer.padding_side == "right" else decoder_only
    return build(tokenizer, dropout, width=16, layers=1, heads=2, inner=24, cap=12)


def entry(kind: Kind, data: DataSet) -> LanguageEntry:
    return LanguageEntry("tiny", kind, lambda folder: data, tiny)


@pytest.fixture(scope="module", params=KINDS)
def task(request: pytest.FixtureRequest) -> Task:
    tokenizer = train_tokenizer([], BYTES_ONLY, request.param)
    return tokenizer, encode(tokenizer, Spellings(train=40).load("train"), request.param == "encoder-decoder")


def run(task: Task, recipe: LanguageRecipe, checkpoint: Path, progress: Progress = silent) -> dict[str, Tensor]:
    model, seconds = teach(tiny, task[0], lambda epoch: task[1], recipe, checkpoint, progress=progress)
    assert seconds > 0
    assert not model.training
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(value.equal(other[name]) for name, value in one.items())


def test_an_interrupted_training_ends_with_the_same_bits(task: Task, tmp_path: Path) -> None:
    expected = run(task, RECIPE, tmp_path / "whole.safetensors")
    per_epoch = len(batches(task[1], RECIPE.batch_tokens, torch.Generator()))
    checkpoint = tmp_path / "folder" / "c.safetensors"

    def stop(done: int, total: int, loss: float) -> None:
        assert total == 3 * per_epoch
        if done > 1.5 * per_epoch:
            raise InterruptionError

    assert per_epoch > 4
    torch.manual_seed(123)  # the state of the global generator must not matter
    with pytest.raises(InterruptionError):
        teach(tiny, task[0], lambda epoch: task[1], RECIPE, checkpoint, progress=stop)
    started: list[int] = []
    assert same(run(task, RECIPE, checkpoint, progress=lambda done, total, loss: started.append(done)), expected)
    assert started[0] > per_epoch
    assert not same(run(task, replace(RECIPE, seed=8), checkpoint), expected), "a finished one gives way"


def test_a_damaged_checkpoint_is_a_usage_error(task: Task, tmp_path: Path) -> None:
    (tmp_path / "c.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(UsageError, match="expected a training checkpoint, got a damaged file"):
        teach(tiny, task[0], lambda epoch: task[1], RECIPE, tmp_path / "c.safetensors")


def test_training_lowers_the_loss(task: Task, tmp_path: Path) -> None:
    losses: list[float] = []
    recipe = replace(RECIPE, epochs=12, learning_rate=1e-2, dropout=0, label_smoothing=0)
    teach(
        tiny,
        task[0],
        lambda epoch: task[1],
        recipe,
        tmp_path / "c.safetensors",
        progress=lambda done, total, loss: losses.append(loss),
    )
    assert losses[-2] < 0.8 * losses[0]


def test_batches_hold_every_pair_once_within_the_budget() -> None:
    rng = torch.Generator().manual_seed(0)
    pairs = [([3] * (index % 7 + 1), [4] * (index % 11)) for index in range(100)] + [([3] * 90, [4] * 90)]
    groups = batches(pairs, 64, rng)
    assert sorted(row for group in groups for row in group) == list(range(101))
    for group in groups:
        size = max(len(pairs[row][0]) for row in group) + max(len(pairs[row][1]) + 1 for row in group)
        assert size * len(group) <= 64 or group == [100]
    again = batches(pairs, 64, rng)
    assert groups != again
    assert len(groups) == len(again)


def test_the_loss_is_smoothed_except_at_the_end() -> None:
    logits, labels = torch.randn(50, 9), torch.arange(50) % 9
    assert smoothed_loss(logits, labels, 0.0, eos=2).item() == pytest.approx(F.cross_entropy(logits, labels).item())
    word = labels != 2
    words = F.cross_entropy(logits[word], labels[word], label_smoothing=0.3, reduction="sum")
    ends = F.cross_entropy(logits[~word], labels[~word], reduction="sum")
    assert smoothed_loss(logits, labels, 0.3, eos=2).item() == pytest.approx((words + ends).item() / 50, rel=1e-5)


def test_logits_are_those_of_the_next_token_and_of_no_neighbor(task: Task) -> None:
    tokenizer, pairs = task
    torch.manual_seed(0)
    model = tiny(tokenizer, 0.5).train(False)
    some = sorted(pairs[:8], key=lambda pair: len(pair[1]))
    with torch.no_grad():
        logits, labels = teacher_forced(model, some)
        alone, _ = teacher_forced(model, some[:1])
        source, target = some[0]
        labeled = torch.tensor([[*target, 2]] if source else [[1, *target, 2]])
        expected = model(input_ids=torch.tensor([source]) if source else labeled, labels=labeled)
    assert labels.tolist() == [token for _, target in some for token in [*target, 2]]
    torch.testing.assert_close(logits[: len(alone)], alone)
    assert F.cross_entropy(alone, labels[: len(alone)]).item() == pytest.approx(expected.loss.item(), rel=1e-4)


def test_dropout_is_only_for_training(task: Task) -> None:
    model = tiny(task[0], 0.5)
    with torch.no_grad():
        for training in (True, False):
            model.train(training)
            first, second = (teacher_forced(model, task[1][:2])[0] for _ in range(2))
            assert first.equal(second) is not training


@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_folder_loads_offline_and_generates_alike(kind: Kind, tmp_path: Path) -> None:
    import transformers

    data = Spellings(train=40, held_out=5) if kind == "encoder-decoder" else Short()
    card = train_language(entry(kind, data), data, ONE_PASS, tmp_path)
    assert card == tmp_path / "tiny.json"
    auto = transformers.AutoModelForSeq2SeqLM if kind == "encoder-decoder" else transformers.AutoModelForCausalLM
    model: Any = auto.from_pretrained(tmp_path / "tiny", local_files_only=True)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "tiny", local_files_only=True)
    target, test, told = entry(kind, data).load(tmp_path), data.load("test"), json.loads(card.read_text())["test"]
    assert judge(target, data, "test").items() <= told.items()
    for text, output in zip(test.inputs, target.run(test.inputs).outputs, strict=True):
        given = tokenizer(text, return_tensors="pt")
        tokens = model.generate(**given)[0, 1 if kind == "encoder-decoder" else given.input_ids.shape[1] :]
        assert tuple(tokens.tolist()) == output.ids
    assert told["samples"] == len(test)
    assert told["steps_max"] <= told["cap"] == 12
    assert told["exact_match"] == 0
    assert ("perplexity_per_token" in told) is (kind == "decoder-only")
    if kind == "decoder-only":
        assert told["perplexity_per_token"] == pytest.approx(perplexity(model, tokenizer, test), rel=1e-3)
    assert model.dtype == torch.float32
    assert model.generation_config.forced_eos_token_id is None
    assert model.generation_config.eos_token_id != model.generation_config.pad_token_id
    with safe_open(tmp_path / "tiny" / "model.safetensors", "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not iterable itself
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert json.loads(card.read_text())["parameters"] == sum(value.numel() for value in stored.values())
    assert {path.name for path in (tmp_path / "tiny").iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_rough_passes_follow_and_go_on_where_they_stopped(tmp_path: Path) -> None:
    data = Spellings(train=30, held_out=4)
    rough = replace(ONE_PASS, rough_epochs=2)
    weights = []
    runs = ((ONE_PASS, "smooth"), (rough, "smooth"), (rough, "rough"))  # the second goes on from the first
    for recipe, folder in runs:
        train_language(entry("encoder-decoder", data), data, recipe, tmp_path / folder)
        weights.append((tmp_path / folder / "tiny" / "model.safetensors").read_bytes())
    assert weights[0] != weights[1] == weights[2]


def test_the_card_has_bleu_and_all_that_made_it(tmp_path: Path) -> None:
    data = Spellings(train=30, held_out=4)
    card = train_language(entry("encoder-decoder", data), data, ONE_PASS, tmp_path)
    told = json.loads(card.read_text(encoding="utf-8"))
    assert 0 <= told["test"]["bleu"] <= 100
    assert 0 <= told["test"]["chrf"] <= 100
    assert told["recipe"] == asdict(ONE_PASS)
    assert (told["name"], told["vocabulary"]) == ("tiny", 259)
    assert told["data"] == data.fingerprint()
    assert told["seconds"] >= 0
