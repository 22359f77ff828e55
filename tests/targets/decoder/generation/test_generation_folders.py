"""Folders of saved models that are damaged, contradict themselves, or ask for what is elsewhere: one sentence each."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from generation_models import CAP, changed, folder, hub, loaded, network, tokenizer
from safetensors.torch import load_file, save_file

from torpor.core.errors import DataError, UsageError
from torpor.targets.decoder.generation import load_pretrained

Mutation = Callable[[Path], object]


def copied(kind: str, place: Path) -> Path:
    """Copy a healthy model."""
    shutil.copytree(folder(kind), place / kind)
    return place / kind


def edit(path: Path, **settings: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Change settings in a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def replaced(path: Path) -> Path:
    """Delete a file, so that something else can take its place."""
    path.unlink()
    return path


DAMAGES: dict[str, Mutation] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_bytes(b""),
    "nested": lambda path: path.write_text("[" * 100_000),
    "list": lambda path: path.write_text("[]"),
    "bytes": lambda path: path.write_bytes(b'{"a": "\xff\xfe"}'),
    "mark": lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()),
    "twice": lambda path: path.write_text('{"a": 1, "a": 2}'),
    "nan": lambda path: path.write_text('{"a": NaN}'),
    "large": lambda path: path.write_bytes(b" " * (2**24 + 1)),
    "nowhere": lambda path: replaced(path).symlink_to("/nowhere"),
    "loop": lambda path: replaced(path).symlink_to(path),
    "pipe": lambda path: os.mkfifo(replaced(path)),
    "device": lambda path: replaced(path).symlink_to("/dev/zero"),
    "folder": lambda path: replaced(path).mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_settings_that_cannot_be_read_are_no_defaults(file: str, damage: str, tmp_path: Path) -> None:
    place = copied("gpt2", tmp_path)
    DAMAGES[damage](place / file)
    with pytest.raises(DataError, match=rf"expected .*{file}, got .*; save the model again"):
        load_pretrained(str(place))


@pytest.mark.parametrize("damage", ["cut", "empty", "list", "nowhere", "loop", "pipe", "device", "folder"])
@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_weights_and_tokenizers_that_cannot_be_read_are_refused(file: str, damage: str, tmp_path: Path) -> None:
    place = copied("llama", tmp_path)
    DAMAGES[damage](place / file)
    with pytest.raises(DataError, match=rf"expected .*{file}, got"):
        load_pretrained(str(place))


def test_pointers_of_git_lfs_are_named(tmp_path: Path) -> None:
    place = copied("gpt2", tmp_path)
    (place / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n")
    with pytest.raises(DataError, match="got a pointer of git-LFS; fetch the file"):
        load_pretrained(str(place))


def test_a_missing_deployment_is_said(tmp_path: Path) -> None:
    place = copied("gpt2", tmp_path)
    (place / "generation_config.json").unlink()
    with pytest.warns(UserWarning, match=r"expected generation_config\.json in .* a cap of 20 new tokens"):
        target = load_pretrained(str(place))
    assert (target.cap, target.details()["deployment"]) == (20, "config.json, with transformers' own cap")
    edit(place / "config.json", max_new_tokens=7)  # the old way
    with pytest.warns(UserWarning, match="a cap of 7 new tokens"):
        assert load_pretrained(str(place)).cap == 7
    assert loaded("gpt2").details()["deployment"] == "generation_config.json"
    assert changed("gpt2").details()["deployment"] == "the model in memory"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": -1}, "max_new_tokens .* an integer from 1"),
        ({"max_new_tokens": 1e30}, "max_new_tokens .* an integer"),
        ({"max_new_tokens": "7"}, "max_new_tokens .* an integer"),
        ({"max_new_tokens": True}, "max_new_tokens .* an integer"),
        ({"num_beams": 10**9}, "num_beams .* from 1 to 1024"),
        ({"do_sample": "yes"}, "do_sample .* true or false"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 2.0}, "top_p .* from 0 to 1"),
        ({"eos_token_id": 10**6}, "eos_token_id .* from 0 to 279"),
        ({"eos_token_id": []}, "eos_token_id"),
        ({"bos_token_id": "</s>"}, "bos_token_id"),
        ({"min_length": 9, "max_length": 5}, "expected min_length up to max_length"),
        ({"max_new_token": 5}, "did you mean max_new_tokens"),
        ({"maxNewTokens": 5}, "did you mean"),
        ({"max_tokens": 5}, "got 'max_tokens'"),
        ({"sequence_bias": [[[10**9], 2.0]]}, "ValueError: The model vocabulary size"),
        ({"bad_words_ids": [[10**9]]}, "ValueError: The model vocabulary size"),
    ],
)
def test_deployments_that_cannot_be_what_they_say_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    place = copied("gpt2", tmp_path)
    edit(place / "generation_config.json", **settings)
    with pytest.raises(UsageError, match=message):
        load_pretrained(str(place))


def test_settings_that_only_a_logits_processor_of_the_model_reads_are_known(tmp_path: Path) -> None:
    """Whisper's own deployments have this one."""
    place = copied("whisper", tmp_path)
    edit(place / "generation_config.json", max_initial_timestamp_index=50)
    assert load_pretrained(str(place)).model.generation_config.max_initial_timestamp_index == 50
    edit(place / "generation_config.json", max_initial_timestamps=50)
    with pytest.raises(UsageError, match="got 'max_initial_timestamps'"):
        load_pretrained(str(place))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            r"not quantized, got quantization_config \(gptq\)",
        ),
        ({"quantization_config": {"load_in_8bit": True}}, "not quantized"),
        ({"_attn_implementation": "flash_attention_2"}, "attn_implementation to be eager or sdpa"),
        ({"attn_implementation": "kernels-community/flash-attn"}, "attn_implementation to be eager or sdpa"),
        ({"attn_implementation": {"": "flex_attention"}}, "attn_implementation to be eager or sdpa"),
        ({"experts_implementation": "kernels-community/moe"}, "experts_implementation to be"),
        ({"use_kernels": True}, "by its own code and weights, got use_kernels"),
        ({"dtype": "float8_e4m3fn"}, "got dtype = 'float8_e4m3fn'"),
        ({"n_layer": 10**9}, r"up to 4096 layers.* got n_layer = 1e\+09"),
        ({"n_layer": 10**400}, "up to 4096 layers"),
        ({"num_labels": 10**9}, "num_labels"),
        ({"n_positions": 10**12}, "n_positions"),
        ({"n_layer": 3000}, "far more or larger"),
        ({"n_embd": 10**7}, "far more or larger"),
        ({"n_positions": 10**7}, "far more or larger"),
        ({"vocab_size": 10**9}, "far more or larger"),
        ({"vocab_size": 290}, r"of another shape: .*transformer\.wte\.weight"),
        ({"n_layer": 1}, r"unexpected: .* and \d+ more"),
        ({"n_layer": 3}, r"missing: .* and \d+ more"),
        ({"n_layer": -1}, "expected"),
        ({"n_head": 0}, "expected a saved model, got .*"),
        ({"n_embd": "32"}, "expected a saved model, got .*"),
        ({"n_embd": None}, "expected a saved model, got .*"),
        ({"n_embd": [32]}, "expected a saved model, got .*"),
        ({"architectures": ["LlamaForCausalLM"]}, "expected a configuration of LlamaForCausalLM"),
        ({"architectures": "GPT2LMHeadModel"}, "a list of names as architectures"),
        ({"activation_functoin": "relu", "activation_function": ...}, "did you mean activation_function"),
    ],
)
def test_configurations_of_something_else_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    place = copied("gpt2", tmp_path)
    path = place / "config.json"
    edit(path, **{name: value for name, value in settings.items() if value is not ...})
    removed = {name for name, value in settings.items() if value is ...}
    path.write_text(
        json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name not in removed})
    )
    with pytest.raises(UsageError, match=message):
        load_pretrained(str(place))


@pytest.mark.parametrize(
    ("file", "settings", "message"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "Nothing"}, "a tokenizer of transformers .* got 'Nothing'"),
        ("tokenizer_config.json", {"tokenizer_class": "GenerationConfig"}, "a tokenizer of transformers"),
        ("tokenizer_config.json", {"model_max_length": -5}, "model_max_length"),
        ("tokenizer_config.json", {"eos_token": ""}, "eos_token"),
        ("tokenizer_config.json", {"add_prefix_space": "no"}, "add_prefix_space"),
        (
            "tokenizer_config.json",
            {"added_tokens_decoder": {"10000": {"content": "<x>", "special": True}}},
            "expected a",
        ),
        ("preprocessor_config.json", {"n_fft": 10**9}, "n_fft"),
        ("preprocessor_config.json", {"feature_size": 10**9}, "feature_size"),
        ("preprocessor_config.json", {"hop_length": 0}, "hop_length"),
        ("preprocessor_config.json", {"feature_extractor_type": "Nothing"}, "expected a feature extractor"),
    ],
)
def test_readers_of_something_else_are_refused(
    file: str, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    place = copied("whisper", tmp_path)
    file = file if (place / file).is_file() else "processor_config.json"
    edit(place / file, **settings)
    with pytest.raises(UsageError, match=message):
        load_pretrained(str(place))


@pytest.mark.parametrize("name", ["adapter_config.json", "quantize_config.json", "custom_generate"])
def test_folders_that_hold_no_whole_model_are_refused(name: str, tmp_path: Path) -> None:
    place = copied("gpt2", tmp_path)
    (place / name).write_text('{"base_model_name_or_path": "gpt2"}')
    with pytest.raises(DataError, match=f"expected a whole model in .*, got {name}"):
        load_pretrained(str(place))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"_name_or_path": "someone/else", "base_model_name_or_path": "someone/else"},
        {"auto_map": {"AutoConfig": "someone/else--x.Y", "AutoModelForCausalLM": "x.Z"}},
        {"attn_implementation": "kernels-community/flash-attn"},
    ],
)
def test_nothing_that_a_folder_names_is_fetched(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(*given: object, **more: object) -> None:
        asked.append(given)
        raise OSError("no network")

    place = copied("gpt2", tmp_path)
    edit(place / "config.json", **settings)
    edit(place / "tokenizer_config.json", name_or_path="someone/else")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    try:
        load_pretrained(str(place))
    except UsageError:
        assert "attn_implementation" in settings
    assert asked == []


def test_tokenizers_of_larger_models_are_refused_for_images_too(tmp_path: Path) -> None:
    place = copied("captioner", tmp_path)
    bigger = tokenizer(ends=True).__class__.from_pretrained(place)
    bigger.add_tokens([f"<{number}>" for number in range(20)])
    bigger.save_pretrained(place)
    with pytest.raises(DataError, match="a tokenizer of up to 280 ids, got the id 299"):
        load_pretrained(str(place))
    assert load_pretrained(str(folder("captioner"))).cap == CAP


def test_ties_that_only_the_head_stores_are_fine(tmp_path: Path) -> None:
    config = network("gpt2").config.to_dict() | {"tie_word_embeddings": True}
    model = hub().GPT2LMHeadModel(hub().GPT2Config(**config))
    model.generation_config = network("gpt2").generation_config
    model.save_pretrained(tmp_path)
    tokenizer(ends=False).save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    target = load_pretrained(str(tmp_path))
    assert torch.equal(target.model.lm_head.weight, model.transformer.wte.weight)
    both = load_file(tmp_path / "model.safetensors")
    both["lm_head.weight"] = both["transformer.wte.weight"].clone()
    save_file(both, tmp_path / "model.safetensors", {"format": "pt"})
    assert load_pretrained(str(tmp_path)).fingerprint() == target.fingerprint()
