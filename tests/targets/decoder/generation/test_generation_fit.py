"""Checkpoints that do not fit the model: another model would be audited, so each is refused, with the keys named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from generation_models import KINDS, TEXTS, _processor, folder, hub, loaded, network, tokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor

from torpor.core.errors import DataError
from torpor.targets.decoder.generation import load_pretrained

State = dict[str, Tensor]
FILE = "model.safetensors"


def without(state: State, *names: str) -> State:
    return {name: value for name, value in state.items() if name not in names}


def first(state: State, value: Callable[[Tensor], Tensor]) -> State:
    name = "model.layers.0.mlp.up_proj.weight"
    return state | {name: value(state[name].clone())}


def spoiled(tensor: Tensor, value: float) -> Tensor:
    tensor.view(-1)[3] = value
    return tensor


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
            "missing: .*unexpected: _orig_mod",
        ),
        (lambda state: {f"module.{name}": value for name, value in state.items()}, "missing: .*unexpected: module"),
        (lambda state: without(state, "lm_head.weight"), r"missing: lm_head\.weight\)"),
        (lambda state: without(state, "model.norm.weight"), r"missing: model\.norm\.weight\)"),
        (lambda state: state | {"adapter.weight": torch.zeros(3)}, r"unexpected: adapter\.weight\)"),
        (lambda state: first(state, lambda value: value.T.contiguous()), "of another shape: .*up_proj"),
        (lambda state: first(state, lambda value: value[:0].clone()), "of another shape: .*up_proj"),
        (lambda state: first(state, lambda value: spoiled(value, float("nan"))), "NaN or infinity in .*up_proj"),
        (lambda state: first(state, lambda value: spoiled(value, float("inf"))), "NaN or infinity in .*up_proj"),
        (lambda state: first(state, lambda value: value.to(torch.int8)), "got I8 in .*up_proj"),
        (lambda state: first(state, lambda value: value.to(torch.float8_e4m3fn)), "got 'F8_E4M3'"),
    ],
)
def test_weights_of_another_model_are_refused(change: Callable[[State], State], message: str, tmp_path: Path) -> None:
    place = tmp_path / "llama"
    shutil.copytree(folder("llama"), place)
    save_file(change(load_file(place / FILE)), place / FILE, {"format": "pt"})
    with pytest.raises(DataError, match=message):
        load_pretrained(str(place))


def test_a_model_without_its_head_is_refused(tmp_path: Path) -> None:
    network("gpt2").transformer.save_pretrained(tmp_path)
    tokenizer(ends=False).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"architectures": ["GPT2LMHeadModel"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"missing: lm_head\.weight\)"):
        load_pretrained(str(tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_shards_are_the_same_model(kind: str, tmp_path: Path) -> None:
    place = tmp_path / kind
    network(kind).save_pretrained(place, max_shard_size="20KB")
    assert len(list(place.glob("*.safetensors"))) > 1
    tokenizer(ends=kind in ("t5", "marian")).save_pretrained(place)
    if kind not in TEXTS:
        _processor(kind).save_pretrained(place)
    assert load_pretrained(str(place)).fingerprint() == loaded(kind).fingerprint()


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    network("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    tokenizer(ends=False).save_pretrained(tmp_path)
    return tmp_path


def test_shards_that_do_not_fit_their_index_are_refused(sharded: Path) -> None:
    shards = sorted(sharded.glob("*.safetensors"))
    state = load_file(shards[0])
    shards[0].unlink()
    with pytest.raises(DataError, match=f"expected {shards[0].name}, which .* names, got no such file"):
        load_pretrained(str(sharded))
    save_file(state | {"more.weight": torch.zeros(2)}, shards[0], {"format": "pt"})
    with pytest.raises(DataError, match=r"to hold what .* says, got more\.weight"):
        load_pretrained(str(sharded))
    save_file(state | load_file(shards[1]), shards[0], {"format": "pt"})
    with pytest.raises(DataError, match=r"to hold what .* says, got"):
        load_pretrained(str(sharded))
    save_file(state, shards[0], {"format": "pt"})
    save_file(state, sharded / FILE, {"format": "pt"})
    with pytest.raises(DataError, match=r"expected one set of weights in .*; delete the stale one"):
        load_pretrained(str(sharded))


@pytest.mark.parametrize("place", ["../elsewhere.safetensors", "none.safetensors", 3])
def test_indices_of_other_files_are_refused(place: object, sharded: Path) -> None:
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["lm_head.weight"] = place
    path.write_text(json.dumps(index))
    with pytest.raises(DataError, match="expected"):
        load_pretrained(str(sharded))


def test_mixtures_of_experts_are_counted_by_what_is_stored() -> None:
    from torpor.targets.decoder.generation.fit import as_large_as
    from torpor.targets.decoder.generation.stored import Stored

    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = hub().MixtralConfig(vocab_size=32, num_hidden_layers=1, **small)
    stored = {
        name: Stored("F32", tuple(value.shape)) for name, value in hub().MixtralForCausalLM(config).state_dict().items()
    }
    with as_large_as(stored), torch.device("meta"):
        hub().MixtralForCausalLM(config)
    config.num_local_experts = 10**9
    with pytest.raises(DataError, match="far more or larger"), as_large_as(stored), torch.device("meta"):
        hub().MixtralForCausalLM(config)
