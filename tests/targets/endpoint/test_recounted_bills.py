"""Bills against a recount by the tokenizer of the model, where it is known."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from asked_endpoints import PROMPTS, endpoint
from fake_server import Asked, Behavior, FakeServer

from torpor.core.errors import UsageError


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a tokenizer for which each word is a token, as for the server."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({"?": 0}, "?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder = tmp_path_factory.mktemp("tokenizer")
    hub: Any = importlib.import_module("transformers")
    hub.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?").save_pretrained(folder)
    return folder


def billed(monkeypatch: pytest.MonkeyPatch, prompt: float = 1, output: float = 1) -> None:
    """Let servers bill so many times what they read and wrote."""
    honest = FakeServer._bill

    def bill(server: FakeServer, asked: Asked, written: list[list[tuple[bool, str]]]) -> dict[str, Any]:
        usage = honest(server, asked, written)["usage"]
        usage["prompt_tokens"] = round(prompt * usage["prompt_tokens"])
        usage["completion_tokens"] = round(output * usage["completion_tokens"])
        return {"usage": usage}

    monkeypatch.setattr(FakeServer, "_bill", bill)


@pytest.mark.parametrize("streams", [True, False])
def test_nothing_is_said_of_an_honest_bill(words: Path, *, streams: bool) -> None:
    with FakeServer(Behavior(streams=streams)) as server:
        outcome = endpoint(server, tokenizer=words).run(PROMPTS)
    assert [output.faults for output in outcome.outputs] == [()] * 3


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"output": 2.0}, "120 tokens billed for an answer of 60 by the tokenizer"),
        ({"prompt": 6.0}, "30 tokens billed for a prompt of 5 by the tokenizer"),
    ],
)
def test_a_bill_that_words_and_bytes_allow_is_found_wrong_by_a_recount(
    wrong: dict[str, float], told: str, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    billed(monkeypatch, **wrong)
    prompt = "Please write for 60 words."
    api = "chat" if "output" in wrong else "completions"
    with FakeServer() as server:
        unknown, known = (
            endpoint(server, api=api, **more).run((prompt,)).outputs[0] for more in ({}, {"tokenizer": words})
        )
    assert unknown.faults == ()
    assert [fault.told for fault in known.faults] == [told]


def test_what_holds_no_tokenizer_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with FakeServer() as server:
        with pytest.raises(UsageError, match="expected a folder with a tokenizer"):
            endpoint(server, tokenizer=tmp_path)
        assert not server.log
