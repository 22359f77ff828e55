"""One forward call per decoder step, or no figure: whatever else runs a network is refused."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from generation_models import CAP, KINDS, Part, again, changed, examples, hub, loaded, tokenizer
from test_generation_runs import check_alone, check_as_transformers
from torch import Tensor, nn
from toy_audits import call

from torpor.core.errors import UsageError
from torpor.targets.decoder.generation.pricing import forwards_counted
from torpor.targets.decoder.generation.target import GenerationTarget


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_healthy_models_raise_no_alarm_and_every_part_is_watched(kind: str, beams: int) -> None:
    target = changed(kind, num_beams=beams)
    target.run(examples(kind, 3))
    rule = target.decoder.forward_calls._rule
    assert rule is not None
    assert not rule[0].isnan().any()  # calls of every part
    assert not rule[1][0].isnan().any()  # tokens fed to the model
    assert rule[0][-1].tolist() == [0, 0, 0]  # nothing runs outside


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"guidance_scale": 1.5}, "without guidance_scale"),
    ("llama", {"guidance_scale": 0.0}, "without guidance_scale"),
    ("t5", {"guidance_scale": 3, "num_beams": 2}, "without guidance_scale"),
    ("llama", {"penalty_alpha": 0.6, "top_k": 4}, "got contrastive_search"),
    ("llama", {"penalty_alpha": 0.6}, "got contrastive_search"),  # top_k is 50 by default
    ("llama", {"dola_layers": "low"}, "got dola_generation"),
    ("llama", {"prompt_lookup_num_tokens": 3}, "got assisted_generation"),
    ("llama", {"assistant_early_exit": 1}, "got assisted_generation"),
    ("llama", {"use_mtp": True}, "got assisted_generation"),
    ("t5", {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5}, "got group_beam_search"),
    ("t5", {"num_beams": 2, "force_words_ids": [[9]]}, "got constrained_beam_search"),
]


@pytest.mark.parametrize(("kind", "config", "message"), REFUSED)
def test_decoding_that_runs_the_model_more_often_is_refused(kind: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        changed(kind, **config)


@pytest.mark.parametrize(
    "config",
    [
        {"guidance_scale": 1.0},
        {"watermarking_config": {"greenlist_ratio": 0.3, "bias": 9.0}},
    ],
)
def test_settings_that_run_nothing_more_are_decoded_as_transformers_does(config: dict[str, Any]) -> None:
    config = {**config}
    if "watermarking_config" in config:
        config["watermarking_config"] = hub().WatermarkingConfig(**config["watermarking_config"])
    target, inputs = changed("llama", **config), examples("llama", 4)
    outcome = target.run(inputs)
    check_as_transformers(target, inputs, outcome)
    check_alone(target, inputs, outcome)


@pytest.mark.parametrize("beams", [1, 2])
def test_what_else_generate_returns_decides_no_token(beams: int) -> None:
    more = changed("llama", num_beams=beams, return_dict_in_generate=True, output_scores=True)
    inputs = examples("llama", 3)
    assert more.run(inputs).outputs == changed("llama", num_beams=beams).run(inputs).outputs


MULTILINGUAL = {
    "lang_to_id": {"<|en|>": 9, "<|de|>": 11}, "task_to_id": {"transcribe": 20, "translate": 21}, "task": "transcribe",
    "is_multilingual": True, "language": None,
}  # fmt: skip


def test_the_pass_that_detects_the_language_is_priced() -> None:
    """Whisper runs encoder and decoder once more for it, whatever the sound."""
    target, sounds = changed("whisper", **MULTILINGUAL, no_timestamps_token_id=279), examples("whisper", 3)
    assert not target.decoder.together
    for row in range(3):
        with forwards_counted(target.model) as flops:
            work = target.run(sounds[row : row + 1]).work
        assert target.prices.cost(work).tolist() == [float(sum(flops))]
        assert (work.counts <= target.static_work().counts).all()


def test_sounds_that_are_decoded_in_pieces_are_refused() -> None:
    """Tokens that read as times make Whisper decode again from there."""
    with pytest.raises(UsageError, match="generate to decode once, got 2 times"):
        changed("whisper", **MULTILINGUAL, no_timestamps_token_id=25)


@pytest.mark.parametrize("sample", [False, True])
def test_watermarks_of_sampled_tokens_run_nothing_more(sample: bool) -> None:
    mark = hub().SynthIDTextWatermarkingConfig(keys=[3, 5, 7], ngram_len=3)
    target = changed("llama", watermarking_config=mark, do_sample=sample, temperature=9.0 if sample else None)
    inputs = examples("llama", 3)
    outcome = target.run(inputs)
    check_alone(target, inputs, outcome)
    if not sample:
        check_as_transformers(target, inputs, outcome)


def with_processor(kind: str, processor: Callable[[Part], Callable[[Tensor, Tensor], Tensor]], **config: Any) -> Part:  # noqa: ANN401
    """Return a model whose class hands ``generate`` one more logits processor."""
    model = copy.copy(loaded(kind).model)
    model.generation_config = copy.deepcopy(loaded(kind).config)
    for name, value in config.items():
        setattr(model.generation_config, name, value)
    base = type(model)

    def _get_logits_processor(self: Part, *args: object, **kwargs: object) -> Part:
        found = base._get_logits_processor(self, *args, **kwargs)
        found.append(processor(self))
        return found

    model.__class__ = type(base.__name__, (base,), {"_get_logits_processor": _get_logits_processor})
    return model


def guided(model: Part, run: Callable[[Part, Tensor], object]) -> Callable[[Tensor, Tensor], Tensor]:
    def process(ids: Tensor, scores: Tensor) -> Tensor:
        run(model, ids)
        return scores

    return process


OTHER = nn.Linear(3, 3)
GUIDES: dict[str, Callable[[Part, Tensor], object]] = {
    "model": lambda model, ids: model(ids, use_cache=False),
    "forward": lambda model, ids: model.forward(ids, use_cache=False),
    "body": lambda model, ids: model.model(ids, use_cache=False),
    "head": lambda model, ids: model.get_output_embeddings()(torch.zeros(1, 32)),
    "another": lambda model, ids: OTHER(torch.zeros(1, 3)),
    "now and then": lambda model, ids: OTHER(torch.zeros(1, 3)) if ids.shape[1] == 12 else None,
}


@pytest.mark.parametrize("config", [{}, {"num_beams": 2}, {"do_sample": True, "temperature": 30.0}])
@pytest.mark.parametrize("guide", GUIDES)
def test_processors_that_run_a_network_are_noticed(guide: str, config: dict[str, Any]) -> None:
    config = {**config, "min_new_tokens": CAP}
    model = with_processor("llama", lambda model: guided(model, GUIDES[guide]), **config)
    target = again(loaded("llama"), "llama", model)
    with pytest.raises(UsageError, match=r"forward calls of .* as its price list assumes, got \d+; deploy"):
        target.run(examples("llama", 2))


def test_processors_that_run_nothing_are_welcome() -> None:
    model = with_processor("llama", lambda model: guided(model, lambda model, ids: ids.sum()))
    target, inputs = again(loaded("llama"), "llama", model), examples("llama", 3)
    check_as_transformers(target, inputs, target.run(inputs))


def subclassed(kind: str, **methods: Any) -> GenerationTarget:  # noqa: ANN401
    model = copy.copy(loaded(kind).model)
    model.generation_config = copy.deepcopy(loaded(kind).config)
    model.generation_config.min_new_tokens = CAP
    model.__class__ = type(type(model).__name__, (type(model),), methods)
    return again(loaded(kind), kind, model)


def test_a_step_that_feeds_other_tokens_or_rows_is_noticed() -> None:
    base, length = type(loaded("gpt2").model), [0]

    def prepare(self: Part, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
        fed: dict[str, Any] = base.prepare_inputs_for_generation(self, input_ids, **kwargs)
        if input_ids.shape[1] == length[0]:
            fed["input_ids"] = input_ids[:, -2:]
            fed |= {"position_ids": None, "attention_mask": None}
        return dict(fed)

    target, text = subclassed("gpt2", prepare_inputs_for_generation=prepare), ("the dog sat on the mat",)
    read = len(target.codec.wrapped(text[0])[0])
    for length[0] in (read + 9, read + CAP - 1):
        with pytest.raises(
            UsageError, match=r"expected (\d+ tokens fed of GPT2LMHeadModel|one token per row and step)"
        ):
            target.run(text)


def test_layers_that_run_for_some_inputs_only_are_noticed() -> None:
    base, later = type(loaded("gpt2").model), [False]

    def forward(self: Part, input_ids: Tensor, **kwargs: Any) -> Part:  # noqa: ANN401
        found = base.forward(self, input_ids, **kwargs)
        if later[0] and input_ids.shape[1] == 1:
            base.forward(self, input_ids)
        return found

    target = subclassed("gpt2", forward=forward)
    later[0] = True
    with pytest.raises(UsageError, match="forward calls of GPT2LMHeadModel"):
        target.run(examples("gpt2", 2))


def test_models_with_a_decoding_of_their_own_are_refused() -> None:
    base = type(loaded("llama").model)

    def _sample(self: Part, *args: object, **kwargs: object) -> object:
        return base._sample(self, *args, **kwargs)

    with pytest.raises(UsageError, match="decodes as transformers does, got LlamaForCausalLM with its own _sample"):
        subclassed("llama", _sample=_sample)

    def narrow(self: Part, input_ids: Tensor, attention_mask: Tensor) -> object:
        return base.generate(self, input_ids, attention_mask=attention_mask)

    with pytest.raises(UsageError, match="a generate of LlamaForCausalLM that does not take it"):
        subclassed("llama", generate=narrow)

    def twice(self: Part, **kwargs: object) -> object:
        base.generate(self, **kwargs)
        return base.generate(self, **kwargs)

    with pytest.raises(UsageError, match="generate to decode once, got 2 times"):
        subclassed("llama", generate=twice)

    def never(self: Part, custom_generate: object, **kwargs: object) -> object:
        return base.generate(self, **kwargs)

    with pytest.raises(UsageError, match="generate to decode once, got 0 times"):
        subclassed("llama", generate=never)


def test_a_generate_that_passes_everything_on_is_welcome() -> None:
    base = type(loaded("llama").model)

    def generate(self: Part, **kwargs: object) -> object:
        return base.generate(self, **kwargs)

    target, inputs = subclassed("llama", generate=generate), examples("llama", 3)
    check_as_transformers(target, inputs, target.run(inputs))


def test_a_generate_that_runs_the_model_for_some_inputs_is_noticed() -> None:
    base = type(loaded("llama").model)

    def generate(self: Part, input_ids: Tensor, **kwargs: object) -> object:
        if input_ids.unique().numel() > 6:
            self(input_ids)
        return base.generate(self, input_ids, **kwargs)

    target = subclassed("llama", generate=generate)
    with pytest.raises(UsageError, match="forward calls of LlamaForCausalLM"):
        target.run(("the dog sat on the mat and the cat",))


def test_other_threads_may_run_networks() -> None:
    target, inputs, done = loaded("llama"), examples("llama", 3), threading.Event()

    def elsewhere() -> None:
        while not done.is_set():
            target.model.get_input_embeddings()(torch.zeros(1, 1, dtype=torch.int64))
            OTHER(torch.zeros(1, 3))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    try:
        for _ in range(5):
            target.run(inputs)
    finally:
        done.set()
        thread.join()


def test_nothing_stays_behind_in_the_model() -> None:
    target = loaded("llama")

    def count() -> int:
        return sum(len(part._forward_pre_hooks) + len(part._forward_hooks) for part in target.model.modules())

    before = count()  # transformers has hooks of its own
    target.run(examples("llama", 2))
    assert count() == before
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_guidance_in_a_saved_folder_is_refused_on_the_command_line(tmp_path: Path) -> None:
    model = copy.copy(loaded("llama").model)
    model.generation_config = copy.deepcopy(loaded("llama").config)
    model.generation_config.guidance_scale = 2.0
    model.save_pretrained(tmp_path)
    tokenizer(ends=False).save_pretrained(tmp_path)
    code, _, said = call("audit", f"hf:{tmp_path}", "--out", tmp_path / "out", "--limit", "2")
    assert code == 2
    assert "without guidance_scale (each step would run the model twice), got 2.0; unset it" in said
