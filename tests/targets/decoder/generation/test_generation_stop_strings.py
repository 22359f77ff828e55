"""Stop strings end outputs as transformers ends them, in any batch."""

from __future__ import annotations

import pytest
from generation_models import changed, loaded, sentences

from torpor.core.errors import DataError
from torpor.targets.decoder.generation.settings import check_generation
from torpor.targets.decoder.generation.target import GenerationTarget


def written(kind: str) -> list[str]:
    """Return letters that a model writes, so that they end outputs."""
    texts = [output.text for output in loaded(kind).run(sentences(8)).outputs]
    letters = {letter for text in texts for letter in text[1:] if letter.isascii() and letter.isalnum()}
    return sorted(letters)[:3]


def by_generate(target: GenerationTarget, text: str, strings: list[str], start: int | None = None) -> list[int]:
    given = dict(target.codec.tokenizer(text, return_tensors="pt"))
    given = {name: given[name] for name in ("input_ids", "attention_mask")}
    begin = given["input_ids"].shape[1] if start is None else start
    made = target.model.generate(**given, stop_strings=strings, tokenizer=target.codec.tokenizer)
    ids: list[int] = made[0, begin:].tolist()
    return ids


@pytest.mark.parametrize("kind", ["gpt2", "llama", "marian"])
def test_outputs_end_where_generate_ends_them(kind: str) -> None:
    strings = written(kind)
    target, inputs = changed(kind, stop_strings=strings), sentences(8)
    outcome = target.run(inputs)
    start = 1 if kind == "marian" else None
    assert [list(output.ids) for output in outcome.outputs] == [
        by_generate(loaded(kind), text, strings, start) for text in inputs
    ]
    free = loaded(kind).run(inputs)
    shorter = target.iterations(outcome.work) < target.iterations(free.work)
    assert shorter.any()  # the strings were chosen so
    for text, output, ended in zip(inputs, outcome.outputs, shorter.tolist(), strict=True):
        assert not (ended and output.capped)
        assert target.run((text,)).outputs[0] == output
        if ended:  # at the very cap it is no cap hit either
            assert target.with_cap(len(output.ids)).run((text,)).outputs[0] == output
    assert target.details()["stop_strings"] == strings
    assert target.fingerprint() != loaded(kind).fingerprint()


def test_a_string_that_is_none_is_refused() -> None:
    for wrong in ([], [""], 3, ["a", 4]):
        with pytest.raises(DataError, match=r"stop_strings in generation_config\.json to be a text, or a list"):
            check_generation({"stop_strings": wrong}, "generation_config.json", None)
    check_generation({"stop_strings": "a"}, "generation_config.json", None)
