"""Saved models, and the refusals that name what is missing."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from generation_models import CAP, KINDS, changed, examples, folder, hub, loaded, network, tokenizer

from torpor.attacks.controls.text import RandomEdits
from torpor.core.errors import DataError, UsageError
from torpor.targets import from_transformers
from torpor.targets.decoder.contract import StepTarget, TextTarget
from torpor.targets.decoder.generation.target import GenerationTarget
from torpor.targets.resolve import load_target

NOT_TEXT = ("captioner", "whisper")


def saved(kind: str, path: Path, *without: str) -> str:
    """Copy a saved model but for some files, and return it as users name it."""
    shutil.copytree(folder(kind), path / kind, ignore=shutil.ignore_patterns(*without))
    return f"hf:{path / kind}"


@pytest.mark.parametrize("kind", KINDS)
def test_folders_load(kind: str) -> None:
    target = loaded(kind)
    assert isinstance(target, StepTarget)
    assert isinstance(target, TextTarget) == (kind not in NOT_TEXT)
    assert (target.name, target.mechanism, target.cap) == (kind, "generation", CAP)
    assert target.details()["generation_config"]["max_new_tokens"] == CAP
    json.dumps(target.details())
    assert not target.model.training


def test_weights_that_are_pickled_are_refused(tmp_path: Path) -> None:
    name = saved("gpt2", tmp_path, "*.safetensors")
    with pytest.raises(DataError, match=r"expected weights as safetensors in .*, got no weights"):
        load_target(name)
    torch.save({}, tmp_path / "gpt2" / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"got only pytorch_model\.bin, which may run code"):
        load_target(name)


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_missing_tokenizers_are_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a tokenizer .*, got none"):
        load_target(saved(kind, tmp_path, "token*"))


@pytest.mark.parametrize("kind", NOT_TEXT)
def test_missing_processors_are_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected an? (image processor|feature extractor) in .*, got none"):
        load_target(saved(kind, tmp_path, "p*processor_config.json"))


def test_missing_folders_and_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder; check the path"):
        load_target(f"hf:{tmp_path / 'nothing'}")
    with pytest.raises(DataError, match=r"expected config\.json in"):
        load_target(f"hf:{tmp_path}")
    with pytest.raises(
        UsageError,
        match="expected a local folder or the name of a model on the hub, got no-such-model: no such folder, no "
        "safetensors in the cache, and the hub is out of reach; check it",
    ):
        load_target("hf:no-such-model")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"expected JSON in .*config\.json"):
        load_target(f"hf:{tmp_path}")


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(url: str) -> None:
        asked.append(url)
        raise ConnectionError("no route")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", ask)
    with pytest.raises(UsageError, match="the hub is out of reach; check it"):
        load_target("hf:someone/no-such-model")
    assert len(asked) == 1


def test_models_without_a_language_head_are_refused(tmp_path: Path) -> None:
    hf = hub()

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    hf.ViTModel(hf.ViTConfig(image_size=16, patch_size=8, **small)).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="expected a model that generates, got ViTModel"):
        load_target(f"hf:{tmp_path}")
    with pytest.raises(UsageError, match="expected a model that generates, got GPT2Model"):
        from_transformers(network("gpt2").transformer, tokenizer(ends=False))


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    name = saved("gpt2", tmp_path)
    path = tmp_path / "gpt2" / "config.json"
    config = json.loads(path.read_text())
    config |= {"model_type": "mine", "architectures": ["Mine"], "auto_map": {"AutoConfig": "mine.Mine"}}
    path.write_text(json.dumps(config))
    (tmp_path / "gpt2" / "mine.py").write_text("raise SystemExit('run')")
    with pytest.raises(UsageError, match="expected a saved model, got"):
        load_target(name)


def test_a_missing_transformers_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"expected transformers .* pip install 'torpor\[language\]'"):
        load_target("hf:anything")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"max_time": 1.0}, "without max_time"),
        ({"stop_strings": ["a"], "num_beams": 2}, "without stop_strings where outputs are searched by beams"),
        ({"penalty_alpha": 0.5, "top_k": 4}, "greedy search, sampling or beam search, got contrastive"),
        ({"prompt_lookup_num_tokens": 3}, "got assisted"),
        ({"use_cache": False}, "with use_cache and one output"),
        ({"num_return_sequences": 2}, "with use_cache and one output"),
        ({"cache_implementation": "static"}, "without cache_implementation"),
        ({"eos_token_id": None}, "with an end token"),
    ],
)
def test_deployments_that_cannot_be_repeated_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        changed("gpt2", **config)


def test_models_of_other_inputs_and_missing_parts_are_refused() -> None:
    model = copy.copy(loaded("captioner").model)
    with pytest.raises(UsageError, match="a processor with an image processor, got none"):
        from_transformers(model, tokenizer(ends=True))
    with pytest.raises(UsageError, match="a processor with a feature extractor, got none"):
        from_transformers(loaded("whisper").model, tokenizer(ends=True))
    with pytest.raises(UsageError, match="expected a tokenizer, or a processor with one, got SimpleNamespace"):
        from_transformers(model, SimpleNamespace())
    model.config = copy.deepcopy(model.config)
    model.config.model_type = "other"
    with pytest.raises(UsageError, match="a vision-encoder-decoder or Whisper, got other"):
        from_transformers(model, SimpleNamespace(tokenizer=tokenizer(ends=True)))


def test_tokenizers_of_larger_models_are_refused() -> None:
    hf = hub()

    config = hf.GPT2Config(
        vocab_size=270, n_positions=32, n_embd=8, n_layer=1, n_head=1, pad_token_id=0, eos_token_id=2
    )
    with pytest.raises(UsageError, match="a tokenizer of up to 270 ids, got 280"):
        from_transformers(hf.GPT2LMHeadModel(config), tokenizer(ends=False))


def test_fingerprints_tell_targets_apart() -> None:
    target = loaded("gpt2")
    assert target.fingerprint() == load_target(f"hf:{folder('gpt2')}").fingerprint()
    others: list[GenerationTarget] = [target.with_cap(5), target.with_seed(1), changed("gpt2", repetition_penalty=1.2)]
    heavier = from_transformers(network("gpt2", seed=1), target.codec.tokenizer, name="gpt2")
    fingerprints = {other.fingerprint() for other in (target, heavier, *others)}
    assert len(fingerprints) == 5
    brighter = copy.copy(loaded("captioner"))
    brighter.reader = copy.copy(brighter.reader)  # type: ignore[attr-defined]
    brighter.reader.mean = brighter.reader.mean + 0.1  # type: ignore[attr-defined]
    assert brighter.fingerprint() != loaded("captioner").fingerprint()


def test_targets_that_sample_are_judged_by_another_draw() -> None:
    target = changed("gpt2", do_sample=True)
    text = ("the dog runs",)
    result = RandomEdits(norm="chars", eps=3)(target, text, seed=0)
    judged = target.with_seed(target.seed + 1).run(result.candidates.inputs)
    longer = judged.work.counts[:, 1] > result.clean.work.counts[:, 1]
    wanted = judged.outputs if longer.item() else result.clean.outputs
    assert [output.ids for output in result.attacked.outputs] == [output.ids for output in wanted]
    assert target.reseeded().fingerprint() != target.fingerprint()
    assert loaded("gpt2").reseeded() is loaded("gpt2")


def test_models_move_and_bring_data(tmp_path: Path) -> None:
    from torpor.data.texts import TextLines

    target = loaded("llama")
    assert target.to(torch.device("cpu")) is target
    (tmp_path / "a.txt").write_text("the dog")
    with pytest.raises(DataError, match="pass --inputs"):
        target.data(tmp_path)
    own = from_transformers(target.model, target.codec.tokenizer, data=lambda _: TextLines(tmp_path))
    assert own.data(None).load("test").inputs == ("the dog",)


def test_half_precision_runs_alike_in_any_batch() -> None:
    single = loaded("llama")
    target = from_transformers(copy.deepcopy(single.model).to(torch.bfloat16), single.codec.tokenizer)
    texts = examples("llama", 4)
    outcome = target.run(texts)
    for row in range(4):
        assert target.run(texts[row : row + 1]).outputs[0] == outcome.outputs[row]
    assert target.signals(texts).logits.dtype == torch.bfloat16


def test_transformers_is_not_imported_for_other_targets() -> None:
    import subprocess

    code = "import sys, torpor.targets.decoder.generation, torpor.targets; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
