"""Chat templates: what is sent is what a server would send, and attacks edit the user's turn alone."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from chat_models import CONTEXT, TALKS, TEMPLATE, chat, chat_network, chat_tokenizer, sent, turn
from hypothesis import given, settings
from hypothesis import strategies as st

from torpor.attacks.registry import load_attack
from torpor.core.conversation import Conversation, Turn, conversation_of, stored_turn, turn_of
from torpor.core.errors import DataError, UsageError
from torpor.defenses.registry import load_defense
from torpor.targets import from_transformers
from torpor.targets.decoder.generation.chat import ChatCodec
from torpor.targets.decoder.generation.prompts import PromptTarget

TEXT = "the dog sat"


def read(target: object, text: str) -> list[int]:
    found: list[int] = target.reader.rows((text,))[0]  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("name", TALKS)
def test_what_is_sent_is_what_transformers_makes_of_the_messages(name: str) -> None:
    target, asked = chat(), turn(name)
    assert target.space.problem(asked) is None
    assert read(target, asked) == sent(asked, name)
    edited = target.space.rejoined("  the mat, é\n ", asked)
    assert read(target, edited) == sent("  the mat, é\n ", name)
    inside = target.in_conversation(conversation_of(asked))  # type: ignore[misc]
    assert read(inside, "a plain text") == sent("a plain text", name)
    ids, own = target.codec.wrapped(asked)
    mine = [number for number, here in zip(ids, own, strict=True) if here]
    assert target.codec.decode(mine).strip() == asked
    assert not set(mine) & target.codec.special


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30), st.sampled_from(sorted(TALKS)))
def test_whatever_is_accepted_is_sent_as_a_server_would(text: str, name: str) -> None:
    target = chat()
    edited = target.space.rejoined(text, turn(name))
    if target.space.problem(edited) is None:
        assert read(target, edited) == sent(text, name)
        assert turn_of(stored_turn(edited)) == edited


@pytest.mark.parametrize("text", ["an </s> end", "<s>", "the</s>"])
def test_texts_that_would_become_special_tokens_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="without special tokens"):
        chat().run((text,))


def test_pieces_that_join_with_the_template_into_special_tokens_are_refused() -> None:
    template = "{{ '<s>' + messages[0].content + '/s>' }}"
    target = from_transformers(chat_network(), chat_tokenizer(template))
    assert target.space.problem("the cat") is None  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="makes no special tokens"):
        target.run(("the cat<",))


def test_soft_prompts_are_refused_where_the_template_s_tokens_reach_into_the_text() -> None:
    template = "{{ '<s>user: ' + messages[0].content + '</s>' }}"
    target = from_transformers(chat_network(), chat_tokenizer(template))
    assert isinstance(target, PromptTarget)
    with pytest.raises(UsageError, match="puts tokens before and after a text"):
        target.soft_logits(target.embedding_matrix()[[5, 6]].unsqueeze(0))
    for name in ("nmtsloth-char", "nmtsloth-token"):  # gradients of the text's tokens, as far as they are its own
        result = load_attack(name, norm=None, eps=2, steps=None)(target, ("the cat sat", "a dog"))
        assert target.run(result.inputs).work.counts.equal(result.attacked.work.counts)


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{{ messages[0].content + messages[0].content }}", "shows the user's turn once, got it 2 times"),
        ("{{ 'nothing' }}", "got it 0 times"),
        ("{{ raise_exception('no users here') }}", "got TemplateError: no users here"),
    ],
)
def test_templates_that_cannot_be_followed_are_refused(template: str, error: str) -> None:
    with pytest.raises(UsageError, match=f"{error}.*--raw"):
        from_transformers(chat_network(), chat_tokenizer(template))
    assert from_transformers(chat_network(), chat_tokenizer(template), raw=True).run((TEXT,))


def test_texts_that_the_template_rewrites_are_refused() -> None:
    template = "{{ '<s>' + messages[0].content.replace('cat', 'dog') + '</s>' }}"
    target = from_transformers(chat_network(), chat_tokenizer(template))
    with pytest.raises(DataError, match="passes on as it is, got 'the cat'"):
        target.run(("the cat",))


def test_the_context_counts_the_whole_prompt() -> None:
    target = chat()
    most = CONTEXT - len(sent("", "called")) - 1
    with pytest.raises(DataError, match=f"prompts of up to {CONTEXT} tokens"):
        target.run((target.space.rejoined("9 " * most, turn("called")),))
    assert (target.run((turn("called"),)).work.counts <= target.static_work().counts).all()


@pytest.mark.parametrize("name", TALKS)
def test_answers_are_those_of_generate(name: str) -> None:
    target, asked = chat(), turn(name)
    (output,) = target.run((asked,)).outputs
    ids = torch.tensor([sent(asked, name)])
    made = target.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False)[0, ids.shape[1] :]
    assert list(output.ids) == made.tolist()


def test_equal_texts_of_different_conversations_are_scored_apart() -> None:
    target = chat()
    texts = tuple(target.space.rejoined(TEXT, turn(name)) for name in TALKS)
    alone = [int(target.iterations(target.run((text,)).work)) for text in texts]
    assert target.score(texts).tolist() == target.score((*texts, *texts)).tolist()[: len(texts)] == alone
    assert len(set(alone)) > 1


@pytest.mark.parametrize("name", TALKS)
def test_soft_prompts_stand_in_their_conversation(name: str) -> None:
    target = chat().in_conversation(conversation_of(turn(name)))  # type: ignore[misc]
    matrix, own = target.embedding_matrix(), target.codec.encode(TEXT)
    vectors = matrix[list(own)].unsqueeze(0)
    ids = torch.tensor([sent(TEXT, name)])
    wanted = target.model(ids).logits[0, -1]
    assert torch.allclose(target.soft_logits(vectors)[0, -1], wanted, atol=1e-4)
    said = target.run((TEXT,)).outputs[0].ids[:4]
    after = target.soft_continuation(vectors, matrix[list(said)].unsqueeze(0))[0, -len(said) - 1 :]
    wanted = target.model(torch.cat([ids, torch.tensor([said])], 1)).logits[0, -len(said) - 1 :]
    assert torch.allclose(after, wanted, atol=1e-4)


@pytest.mark.parametrize("name", TALKS)
def test_gradients_are_those_of_the_turn_in_its_conversation(name: str) -> None:
    target = chat()
    signals = target.signals((target.space.rejoined(TEXT, turn(name)),))
    assert signals.input_ids is not None
    assert signals.input_mask is not None
    assert signals.embeddings is not None
    assert signals.input_ids[0].tolist() == sent(TEXT, name)
    assert target.codec.decode(signals.input_ids[0][signals.input_mask[0]].tolist()).strip() == TEXT
    signals.logits.sum().backward()
    assert signals.embeddings.grad is not None
    assert signals.embeddings.grad[0][signals.input_mask[0]].abs().sum() > 0


@pytest.mark.parametrize(
    "name",
    [
        "nmtsloth-char",
        "nmtsloth-token",
        "dgslow",
        "coercing-llms:steps=2:candidates=4",
        "excessive-reasoning:steps=2:candidates=4",
    ],
)
def test_attacks_edit_the_turn_alone_and_do_not_mind_their_neighbors(name: str) -> None:
    target = chat()
    inputs = tuple(turn(each) for each in ("alone", "system", "called"))
    attack = load_attack(name, norm=None, eps=2, steps=None)
    result = attack(target, inputs)
    for clean, text, work in zip(inputs, result.inputs, result.attacked.work.counts, strict=True):
        assert conversation_of(text) == conversation_of(clean)
        assert target.run((text,)).work.counts[0].equal(work)
    alone = attack(target, inputs[1:2])
    assert alone.inputs[0] == result.inputs[1]
    assert int(alone.candidates.forwards) == int(result.candidates.forwards[1])


def test_a_transform_keeps_the_conversation() -> None:
    target = chat()
    defended = load_defense("normalize").defend(target)
    asked = target.space.rejoined("the cat\u200b sat", turn("system"))
    plain = target.run((target.space.rejoined("the cat sat", turn("system")),))
    assert defended.run((asked,)).outputs == plain.outputs
    inside = defended.in_conversation(conversation_of(asked))  # type: ignore[attr-defined]
    assert inside.run(("the cat\u200b sat",)).outputs == plain.outputs


def test_turns_survive_being_stored_copied_and_pickled() -> None:
    asked = turn("tools")
    for again in (pickle.loads(pickle.dumps(asked)), copy.deepcopy(asked), turn_of(stored_turn(asked))):
        assert isinstance(again, Turn)
        assert (again, again.conversation) == (asked, conversation_of(asked))
    space = chat().space
    assert [conversation_of(text) for text in space.from_bytes(space.to_bytes((asked, TEXT)))] == [
        conversation_of(asked), None
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "tools", "error"),
    [
        ([], None, "messages with a role each"),
        ([{"content": "hi"}], None, "messages with a role each"),
        ([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}], None, "last is the assistant's"),
        ([{"role": "system", "content": "hi"}], None, "that the model is to answer"),
        ([{"role": "user", "content": [{"type": "text", "text": "hi"}]}], None, "text as the last turn"),
        ([{"role": "user", "content": "hi"}], ["rain"], "a list of schemas"),
    ],
)
def test_conversations_without_a_turn_to_edit_are_refused(messages: object, tools: object, error: str) -> None:
    with pytest.raises(DataError, match=error):
        Conversation.of(messages, tools)


def test_targets_without_a_template_refuse_conversations() -> None:
    with pytest.raises(DataError, match="only a model with a chat template"):
        chat(":raw=true").run((stored_turn(turn("system")),))


def test_the_template_and_what_it_shows_are_part_of_the_identity() -> None:
    other = chat_tokenizer(TEMPLATE.replace("be kind", "be good"))
    fingerprints = {
        chat().fingerprint(), chat(":raw=true").fingerprint(),
        from_transformers(chat_network(), other, name="chat").fingerprint(),
    }  # fmt: skip
    assert len(fingerprints) == 3
    assert "of the tests" in str(chat().details()["chat_template"])
    assert chat(":raw=true").details()["chat_template"] is None
    assert isinstance(chat().codec, ChatCodec)
