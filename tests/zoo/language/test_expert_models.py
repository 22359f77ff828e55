"""The mixture of experts that ships: it uses its experts, repetition does not let it, and a batch-mate takes room."""

from __future__ import annotations

from pathlib import Path

import pytest

from torpor.attacks.text.experts.buffer_overflow import BufferOverflow
from torpor.attacks.text.experts.repetitioncurse import RepetitionCurse
from torpor.targets.experts.loads import imbalance
from torpor.targets.experts.target import ExpertTarget
from torpor.zoo.language.expert_batch import EXPERT_BATCHES
from torpor.zoo.language.experts import EXPERTS

PASSAGES = (
    "A man in an orange hat starring at something. A Boston Terrier is running on lush green grass in front of a white",
    "A girl in karate uniform breaking a stick with a front kick. Five people wearing winter jackets and helmets stand",
)


def uneven(target: ExpertTarget, texts: tuple[str, ...]) -> float:
    ran = target.balance(target.run(texts).work)
    return imbalance(ran["busiest"], ran["assigned"], target.placement.devices).mean().item()


def test_what_ships_is_small_and_comes_near_the_maximum_when_a_token_is_repeated() -> None:
    pytest.importorskip("transformers")
    entry = EXPERTS["moe-multi30k"]
    assert sum(file.stat().st_size for file in Path(entry.folder(), entry.name).glob("*.safetensors")) < 2**21
    target = entry.load()
    most = target.placement.most_imbalance
    assert most == 4
    clean = uneven(target, PASSAGES)
    assert clean < 0.6 * most
    result = RepetitionCurse(norm="prompt", eps=64, tokens=16)(target, PASSAGES)
    assert uneven(target, result.inputs) > 0.9 * most


def test_the_batch_that_ships_loses_more_in_bad_company() -> None:
    pytest.importorskip("transformers")
    target = EXPERT_BATCHES["moe-batch-multi30k"].load()
    result = BufferOverflow(norm="prompt", eps=64, queries=16)(target, PASSAGES[:1])
    before, after = (target.hit(each.work)["neighbor_drops"] for each in (result.clean, result.attacked))
    assert (after > before).all()
