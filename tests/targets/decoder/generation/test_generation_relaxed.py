"""What is optimized is what is sent: the relaxed forward pass at a one-hot input is the hard one, in every layout."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from generation_models import BOS, CAP, EOS, KINDS, PAD, Part, examples, hub, loaded, random_decoder, tokenizer
from step_targets import random_captioner
from torch import Tensor, nn

from torpor.attacks.text.engorgio import Engorgio
from torpor.core.errors import UsageError
from torpor.core.text import unpack
from torpor.targets import from_transformers
from torpor.targets.decoder.contract import TextTarget
from torpor.targets.decoder.generation.forcing import takes
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.targets.decoder.generation.texts import TextGenerationTarget
from torpor.targets.decoder.toy_text import ToyText

FRAMES = {
    "bare": "$A",
    "begins": "<s> $A",
    "ends": "$A </s>",
    "both": "<s> $A </s>",
    "ordinary tokens": "u s $A t o",
    "chat": "<s> u s $A </s> <s> b o t",
}
"""What a tokenizer puts around a text."""
TEXT = "the dog sat"


def framed(single: str) -> Part:
    """Return a tokenizer that puts tokens around a text."""
    from tokenizers import processors

    found = copy.deepcopy(tokenizer(ends=False))
    backend = found.backend_tokenizer
    tokens = [(token, backend.token_to_id(token)) for token in single.split() if token != "$A"]
    backend.post_processor = processors.TemplateProcessing(single=single, pair=None, special_tokens=sorted(set(tokens)))
    return found


BASE = {
    "vocab_size": len(tokenizer(ends=False)), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": PAD,
    "bos_token_id": BOS, "eos_token_id": EOS,
}  # fmt: skip
MARIAN = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 48}
OTHERS: dict[str, dict[str, Any]] = {
    "Gemma": {"head_dim": 8},  # scales embeddings after the look-up
    "OPT": {"ffn_dim": 48, "word_embed_proj_dim": 16},  # projects them; positions come from the mask
    "XGLM": {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48},
    "Bloom": {"n_layer": 2, "n_head": 4},
    "Marian": {**MARIAN, "scale_embedding": True},  # scales what it looks up, not what it is given
    "Roberta": {"is_decoder": True},  # positions come from the ids
}


def other(kind: str) -> Part:
    """Build a random language model of a further architecture."""
    return random_decoder(kind, **{**BASE, **OTHERS[kind]})


def check_relaxed(target: PromptTarget, text: str = TEXT) -> None:
    """Compare soft prompts, with and without a continuation, with the model itself and with what is generated."""
    model, matrix = target.model, target.embedding_matrix()
    ids, own = target.codec.wrapped(text)
    places = [place for place, mine in enumerate(own) if mine]
    assert [ids[place] for place in places] == list(target.codec.encode(text))
    one_hot = nn.functional.one_hot(torch.tensor([target.codec.encode(text)]), len(matrix)).to(matrix)
    (output,) = target.run((text,)).outputs
    said = list(output.ids)
    whole = torch.tensor([[*ids, *said]])
    places_of = {"position_ids": torch.arange(whole.shape[1])[None]} if takes(model, "position_ids") else {}
    hard = model(whole, **places_of).logits[0]  # as generate says where tokens are
    atol = 1e-5 * float(hard.abs().max())

    embeddings = (one_hot @ matrix).requires_grad_()
    soft = target.soft_logits(embeddings)[0]
    assert soft.shape == (len(places), hard.shape[1])
    assert torch.allclose(soft[:-1], hard[places[:-1]], atol=atol)
    assert torch.allclose(soft[-1], hard[len(ids) - 1], atol=atol)  # after the footer
    assert soft[-1].argmax() == said[0]
    soft.sum().backward()
    assert embeddings.grad is not None
    assert (embeddings.grad.abs().amax(-1) > 0).all()

    answered = target.soft_continuation(embeddings.detach(), matrix[torch.tensor([said])])[0]
    assert torch.allclose(answered, torch.cat([hard[places[:-1]], hard[len(ids) - 1 :]]), atol=atol)
    assert answered[len(places) - 1 : -1].argmax(-1).tolist() == said

    signals = target.signals((text, f"{text} on the mat"))
    assert torch.allclose(signals.logits[0, : len(said)], hard[len(ids) - 1 : -1], atol=atol)
    assert signals.input_mask is not None
    assert signals.input_mask[0].sum() == len(places)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_soft_prompts_are_what_is_sent(kind: str, frame: str) -> None:
    target = from_transformers(loaded(kind).model, framed(frame))
    assert isinstance(target, PromptTarget)
    check_relaxed(target)
    check_relaxed(target, "a")


@pytest.mark.parametrize("frame", [FRAMES["begins"], FRAMES["chat"]])
@pytest.mark.parametrize("kind", OTHERS)
def test_scaled_embeddings_and_positions_are_those_of_the_model(kind: str, frame: str) -> None:
    target = from_transformers(other(kind), framed(frame))
    assert isinstance(target, PromptTarget)
    check_relaxed(target)


def test_the_loss_of_engorgio_is_that_of_the_prompt_that_is_sent() -> None:
    target = from_transformers(loaded("llama").model, framed(FRAMES["chat"]))
    assert isinstance(target, PromptTarget)
    matrix, attack = target.embedding_matrix(), Engorgio()
    own, said = list(target.codec.encode(TEXT)), list(target.run((TEXT,)).outputs[0].ids)
    one_hot = nn.functional.one_hot(torch.tensor(own + said), len(matrix)).to(matrix)
    found = attack._loss(target, one_hot, one_hot @ matrix, 1e4 * one_hot, len(own))
    ids, mine = target.codec.wrapped(TEXT)
    logits = target.model(torch.tensor([[*ids, *said]])).logits[0].log_softmax(-1)
    first = mine.index(True)
    kept = torch.cat([logits[first : first + len(own) - 1], logits[len(ids) - 1 :]])
    following = torch.tensor((own + said)[1:]).unsqueeze(1)
    wanted = -kept[:-1].gather(1, following).mean() + kept[:, EOS].exp().sum()
    assert torch.allclose(found, wanted, rtol=1e-4)


def test_engorgio_learns_through_a_chat_template() -> None:
    target = from_transformers(loaded("llama").model, framed(FRAMES["chat"]))
    assert isinstance(target, PromptTarget)
    texts: Any = (TEXT,)
    attack = Engorgio(eps=4, steps=20, tail=8).fit(target, texts)
    assert attack.learned is not None
    assert target.space.problem(unpack(attack.learned.perturbations)[0]) is None


def test_models_that_look_elsewhere_are_refused() -> None:
    """A model that reads the ids themselves, as those with embeddings per layer do, cannot be relaxed."""
    model = copy.deepcopy(loaded("llama").model)
    base = type(model)

    class Deep(base):  # type: ignore[misc, valid-type]
        def forward(self, input_ids: Tensor, **kwargs: Any) -> Part:  # noqa: ANN401
            found = super().forward(input_ids, **kwargs)
            found.logits = found.logits + input_ids.sum(1)[:, None, None] * torch.arange(found.logits.shape[-1])
            return found

    class Twice(base):  # type: ignore[misc, valid-type]
        def forward(self, input_ids: Tensor, **kwargs: Any) -> Part:  # noqa: ANN401
            self.get_input_embeddings()(input_ids)
            return super().forward(input_ids, **kwargs)

    for wrong, message in ((Deep, "same scores of embeddings as of their tokens"), (Twice, "looks its input up once")):
        model.__class__ = wrong
        target = from_transformers(model, tokenizer(ends=False))
        assert isinstance(target, PromptTarget)
        with pytest.raises(UsageError, match=message):
            target.soft_logits(target.embedding_matrix()[:3].unsqueeze(0))


def test_soft_prompts_of_the_toy_are_its_hard_ones() -> None:
    target: TextTarget = ToyText(cap=30)
    for text in ("a 3 z", "9~~"):
        own = target.embedding_matrix()[torch.tensor([target.space.codec.encode(text)])]
        signals, (output,) = target.signals((text,)), target.run((text,)).outputs
        said = target.embedding_matrix()[torch.tensor([output.ids])]
        soft = target.soft_continuation(own, said)[0, own.shape[1] - 1 : -1]
        assert torch.allclose(soft, signals.logits[0])
        assert soft.argmax(-1).tolist() == list(output.ids)
        assert torch.allclose(target.soft_logits(own)[0, -1], signals.logits[0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_signals_say_what_is_generated(kind: str) -> None:
    target, inputs = loaded(kind), examples(kind, 3)
    forced, outputs = target.signals(inputs), target.run(inputs).outputs
    for row, output in enumerate(outputs):
        if not target.config.no_repeat_ngram_size:
            assert forced.logits[row, : len(output.ids)].argmax(-1).tolist() == list(output.ids)


def test_signals_of_encoders_read_the_ids_of_padded_rows() -> None:
    """M2M-100 takes its positions from the ids, so none may be made up."""
    hf = hub()
    torch.manual_seed(0)
    config = hf.M2M100Config(
        **{**BASE, **MARIAN, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48},
        decoder_start_token_id=BOS,
        init_std=0.4,
    )
    model = hf.M2M100ForConditionalGeneration(config).eval()
    model.generation_config.max_new_tokens = CAP
    target = from_transformers(model, tokenizer(ends=True))
    assert isinstance(target, TextGenerationTarget)
    texts = (TEXT, f"{TEXT} on the mat and the cat")
    signals = target.signals(texts)
    for row, output in enumerate(target.run(texts).outputs):
        assert signals.logits[row, : len(output.ids)].argmax(-1).tolist() == list(output.ids)


def test_signals_of_a_captioner_say_what_is_generated() -> None:
    target = random_captioner()
    images = (torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    signals = target.signals(images)
    for row, output in enumerate(target.run(images).outputs):
        assert signals.logits[row, : len(output.ids)].argmax(-1).tolist() == list(output.ids)
