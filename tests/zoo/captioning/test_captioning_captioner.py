from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.data.images import to_unit
from torpor.data.scenes import WORDS, Scenes
from torpor.meters.flops import counting
from torpor.zoo.captioning.captioner import Captioner, GruCell, LstmCell, captioner_gru, captioner_lstm
from torpor.zoo.captioning.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of(WORDS)
BUILDERS = [captioner_gru, captioner_lstm]


@pytest.fixture(params=BUILDERS, ids=["gru", "lstm"])
def model(request: pytest.FixtureRequest) -> Captioner:
    torch.manual_seed(0)
    build: Callable[[Vocabulary], Captioner] = request.param
    return build(VOCABULARY).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return to_unit(Scenes().load("test", 3).inputs)


def by_steps(model: Captioner, features: Tensor, ids: Tensor) -> Tensor:
    state = model.start(features)
    word = torch.full_like(ids[:, 0], VOCABULARY.start)
    logits = []
    for t in range(ids.shape[1]):
        scores, state = model.step(features, word, state)
        logits.append(scores)
        word = ids[:, t]
    return torch.stack(logits, 1)


def test_the_teacher_equals_the_steps_in_value_and_gradient(model: Captioner, images: Tensor) -> None:
    ids = torch.randint(len(VOCABULARY), (3, 7), generator=torch.Generator().manual_seed(1))
    gradients, values = [], []
    for score in (model.teacher, lambda features, ids: by_steps(model, features, ids)):
        pixels = images.clone().requires_grad_()
        logits = score(model.encode(pixels), ids)
        assert tuple(logits.shape) == (3, 7, len(VOCABULARY))
        values.append(logits)
        gradients.append(torch.autograd.grad(logits.log_softmax(-1)[..., VOCABULARY.end].sum(), pixels)[0])
    assert torch.allclose(values[0], values[1], atol=1e-5)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-5)
    assert gradients[0].flatten(1).norm(dim=1).min() > 0


def test_rows_do_not_depend_on_their_neighbors(model: Captioner, images: Tensor) -> None:
    features = model.encode(images)
    assert features.shape[:2] == (3, 64)
    assert torch.allclose(model.encode(images[1:2]), features[1:2], atol=1e-5)
    ids = torch.tensor([5, 6, 7])
    logits, state = model.step(features, ids, model.start(features))
    alone, kept = model.step(features[2:], ids[2:], tuple(part[2:] for part in model.start(features)))
    assert torch.allclose(alone, logits[2:], atol=1e-5)
    for one, other in zip(kept, state, strict=True):
        assert torch.allclose(one, other[2:], atol=1e-5)


def test_what_is_predicted_does_not_depend_on_later_words(model: Captioner, images: Tensor) -> None:
    features = model.encode(images)
    ids = torch.randint(len(VOCABULARY), (3, 6))
    changed = ids.clone()
    changed[:, 3:] = 4
    logits, other = model.teacher(features, ids), model.teacher(features, changed)
    assert torch.allclose(logits[:, :4], other[:, :4], atol=1e-6)
    assert torch.allclose(model.teacher(features, ids[:, :2]), logits[:, :2], atol=1e-6)


def test_attention_is_a_distribution(model: Captioner, images: Tensor) -> None:
    attention = model.unroll(model.encode(images), torch.full((3, 5), 4))[1]
    assert tuple(attention.shape) == (3, 5, 64)
    assert attention.min() >= 0
    assert torch.allclose(attention.sum(-1), torch.ones(3, 5))


def test_size_and_known_flops(model: Captioner, images: Tensor) -> None:
    assert 5e5 < sum(value.numel() for value in model.parameters()) < 1.5e6
    assert sum(value.numel() * value.element_size() / 2 for value in model.state_dict().values()) < 4e6
    with counting() as encoding:
        features = model.encode(images)
    with counting() as steps:
        model.step(features, torch.tensor([1, 1, 1]), model.start(features))
    assert encoding.flops > 10 * steps.flops > 0


@pytest.mark.parametrize(("cell", "peer"), [(GruCell(5, 4), nn.GRUCell(5, 4)), (LstmCell(5, 4), nn.LSTMCell(5, 4))])
def test_cells_equal_those_of_torch(cell: GruCell | LstmCell, peer: nn.GRUCell | nn.LSTMCell) -> None:
    inputs, hidden, memory = torch.randn(3, 2, 5).unbind(0)[0], torch.randn(2, 4), torch.randn(2, 4)
    with torch.no_grad():
        peer.weight_ih.copy_(cell.of_input.weight)
        peer.weight_hh.copy_(cell.of_hidden.weight)
        peer.bias_ih.copy_(cell.of_input.bias)
        peer.bias_hh.zero_()
        if cell.of_hidden.bias is not None:
            peer.bias_hh.copy_(cell.of_hidden.bias)
        if isinstance(cell, GruCell):
            assert torch.allclose(cell(inputs, (hidden,))[0], peer(inputs, hidden), atol=1e-6)
        else:
            # torch's order of gates: input, forget, new, output
            for one, other in zip(cell(inputs, (hidden, memory)), peer(inputs, (hidden, memory)), strict=True):
                assert torch.allclose(one, other, atol=1e-6)


def test_unknown_cells_are_refused() -> None:
    with pytest.raises(UsageError, match="expected cell gru or lstm, got 'rnn'"):
        Captioner(nn.Identity(), "rnn", VOCABULARY, width=4, positions=4)
