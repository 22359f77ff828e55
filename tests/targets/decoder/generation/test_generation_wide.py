"""Wide batches: other kernels and other batches, the same outputs."""

from __future__ import annotations

import math

import pytest
import torch
from generation_models import loaded, sentences
from torch import nn

from torpor.targets.decoder.generation import texts, wide
from torpor.targets.decoder.generation.decoding import Decoder
from torpor.targets.decoder.generation.fed import Decoded, Draws, Feeder
from torpor.targets.decoder.generation.texts import TextGenerationTarget
from torpor.targets.decoder.generation.wide import ROWS, wide_products

one_dnn = pytest.mark.skipif(not wide.is_faster(nn.Linear(1, 1)), reason="torch's own products are used here")


@one_dnn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(ROWS, 5), (ROWS + 1, 1, 5), (3, 7, 5), (wide.MANY + 1, 5)])
def test_linear_layers_are_the_same_by_other_kernels(shape: tuple[int, ...], bias: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    layer, given = nn.Linear(5, 4, bias=bias).requires_grad_(False), torch.randn(shape, generator=draw)
    wanted = layer(given)
    with wide_products(layer, 0):
        assert "forward" in vars(layer)
        torch.testing.assert_close(layer(given), wanted)
    assert "forward" not in vars(layer)


@one_dnn
def test_gradients_pass_and_other_layers_stay_as_they_are() -> None:
    class Own(nn.Linear):
        """Not one that torpor knows."""

    layer, other = nn.Linear(5, 4).requires_grad_(False), Own(4, 4).requires_grad_(False)
    given = torch.ones(2, 5, requires_grad=True)
    with wide_products(nn.Sequential(layer, other), 0):
        assert "forward" not in vars(other)
        layer(given).sum().backward()
    torch.testing.assert_close(given.grad, layer.weight.sum(0).expand(2, 5))


def test_processors_without_wide_registers_and_other_types_take_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    half, layer = nn.Linear(5, 4).to(torch.bfloat16), nn.Linear(5, 4)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    for one in (half, layer):
        with wide_products(one, 0):
            assert "forward" not in vars(one)


@pytest.mark.slow
def test_candidates_of_different_lengths_are_decoded_apart_where_padding_costs_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = loaded("marian")
    assert isinstance(target, TextGenerationTarget)
    short = sentences(40, seed=0)
    asked = [*short, *(" ".join(sentences(4, seed=seed)) for seed in range(6))]
    batches = list[int]()
    decode = Decoder.decode

    def watch(
        self: Decoder, feed: Feeder, chunks: list[list[int]], caps: list[int], draws: Draws | None = None
    ) -> list[Decoded]:
        batches.append(len(chunks))
        return decode(self, feed, chunks, caps, draws)

    monkeypatch.setattr(Decoder, "decode", watch)
    found = []
    for step in (math.inf, 0):
        monkeypatch.setattr(texts, "STEP", step)
        found.append(target.score(asked).tolist())
    assert batches[0] == 1 < batches[1]
    assert found[0] == found[1]
    assert found[0] == target.iterations(target.run(tuple(asked)).work).tolist()
