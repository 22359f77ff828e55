from __future__ import annotations

from typing import Any

import pytest
import torch
from contract_cases import watch
from step_targets import Translator

from torpor.attacks.text.sponge_genetic import SpongeGenetic, alphabet, breed, mutate, spell
from torpor.core.errors import UsageError
from torpor.core.text import TextSpace
from torpor.core.threat import Access
from torpor.targets.decoder.toy_text import ToyText


class Heavy(ToyText):
    """A toy whose cap no such text reaches."""

    def __init__(self) -> None:
        super().__init__(cap=60)


def test_it_finds_the_costliest_text_of_spaced_characters() -> None:
    target = Heavy()
    attack = SpongeGenetic(eps=8, epochs=25, alphabet=94)
    result = attack(target, ("a cat", "dogs"), seed=0)
    assert target.iterations(result.attacked.work).tolist() == [4 * 9 + 1] * 2  # four characters and their spaces
    assert attack.access is Access.DECISION
    assert [round(share * 8) for share in result.budget_used.tolist()] == [7, 7]  # tokens in, beside the cost
    assert (result.candidates.forwards > 20 * 45).all()
    assert not result.candidates.backwards.any()


def test_a_text_that_costs_all_that_its_bound_allows_ends_the_search() -> None:
    result = SpongeGenetic(eps=8, pool=10, epochs=50, alphabet=94)(Translator(cap=5), ("a cat",))
    assert ToyText().iterations(result.attacked.work).tolist() == [5]
    assert result.candidates.forwards.item() <= 20


@pytest.mark.parametrize("genes", [1, 4, 6, 9])
def test_short_texts_mutate_too(genes: int) -> None:
    changed = [
        sum(
            gene != 0 for gene in mutate(torch.zeros(genes, dtype=torch.int64), 50, torch.Generator().manual_seed(seed))
        )
        for seed in range(50)
    ]
    assert max(changed) == 1
    assert sum(changed) > 40


def test_the_pool_does_not_draw_to_the_middle_of_the_alphabet() -> None:
    rng = torch.Generator().manual_seed(0)
    letters, genes, pool = 1000, 50, 50
    genomes = [tuple(row) for row in torch.randint(letters, (pool, genes), generator=rng).tolist()]
    for _ in range(50):
        order = torch.randperm(pool, generator=rng).tolist()  # nothing is fitter than anything else
        genomes = breed([genomes[place] for place in order], [1.0] * pool, letters, rng)
        assert len(set(genomes)) == pool
    assert (torch.tensor(genomes) / letters).std().item() > 0.25  # 0.289 at first


def test_parents_survive_and_children_mix() -> None:
    pool = [(1,) * 40, (2,) * 40] + [(3,) * 40] * 18
    following = breed(pool, [5.0, 5.0] + [0.0] * 18, 1, torch.Generator().manual_seed(0))
    assert following[:2] == pool[:2]
    assert len(following) == 20
    assert all(set(child) <= {0, 1, 2} for child in following)
    assert any({1, 2} <= set(child) for child in following)


def test_a_tiny_alphabet_does_not_hang() -> None:
    assert len(breed([(0,), (1,), (0,), (1,)], [1.0] * 4, 2, torch.Generator().manual_seed(0))) == 2
    result = SpongeGenetic(eps=1, alphabet=1, pool=4, epochs=2)(ToyText(), ("9",))
    assert result.inputs == ("9",)


def test_texts_are_spelled_within_the_limit_and_survive() -> None:
    space = ToyText().space
    letters, _ = alphabet(space, 40_960, 10)
    assert len(letters) == 94
    text = spell(space, letters, tuple(range(10)), 6)
    assert len(space.codec.encode(text)) == 5
    assert space.survives(text)
    assert spell(space, "ä", (0,), 6) == ""


def test_what_cannot_be_spelled_costs_no_query(monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(space: TextSpace, letters: str, genome: tuple[int, ...], most: int) -> str:
        return "" if genome[0] % 2 else spell(space, letters, genome, most)

    monkeypatch.setattr("torpor.attacks.text.sponge_genetic.spell", odd)
    target = Heavy()
    passes = watch(target, monkeypatch)
    result = SpongeGenetic(eps=8, pool=10, epochs=3, alphabet=94)(target, ("a cat",))
    assert result.candidates.forwards.item() == sum(passes.forwards) - 2  # the clean and the attacked text


@pytest.mark.parametrize("wrong", [{"pool": 3}, {"epochs": 0}, {"alphabet": 0}, {"alphabet": 60_000}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected a pool"):
        SpongeGenetic(**wrong)


def test_an_alphabet_that_cannot_be_sent_is_refused() -> None:
    space = ToyText(max_tokens=2).space  # no two characters and a space fit
    with pytest.raises(UsageError, match="try a larger alphabet"):
        alphabet(space, 94, 10)
