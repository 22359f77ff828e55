"""What detectors compute, against independent references."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from detector_cases import Translator
from scipy.ndimage import median_filter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from torpor.core.errors import DataError
from torpor.core.objects import Objects
from torpor.defenses.detectors.models import fit_linear, fit_rbf, linear, rbf
from torpor.defenses.detectors.perplexity import Perplexity, count_characters
from torpor.defenses.detectors.squeeze import median
from torpor.defenses.detectors.trace import Trace, read
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.decoder.traits import of_steps
from torpor.targets.detector.toy_boxes import LampTarget
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.traits import of_exits


@pytest.mark.parametrize("counts", [(40, 40), (60, 15)])
def test_models_are_those_of_scikit_learn(counts: tuple[int, int]) -> None:
    rng = torch.Generator().manual_seed(0)
    clean = torch.randn(counts[0], 7, generator=rng) * torch.arange(1, 8)
    attacked = torch.randn(counts[1], 7, generator=rng) + 0.7
    new = torch.randn(50, 7, generator=rng)
    features = torch.cat([clean, attacked]).double().numpy()
    labels = np.repeat([0, 1], counts)
    weight = None if counts[0] == counts[1] else "balanced"
    machine = make_pipeline(StandardScaler(), SVC(class_weight=weight)).fit(features, labels)
    wanted = machine.decision_function(new.double().numpy())
    assert rbf(fit_rbf(clean, attacked, 0), new).numpy() == pytest.approx(wanted, abs=1e-9)
    odds = make_pipeline(StandardScaler(), LogisticRegression(class_weight=weight, max_iter=5000))
    wanted = odds.fit(features, labels).decision_function(new.double().numpy())
    assert linear(fit_linear(clean, attacked, 0), new).numpy() == pytest.approx(wanted, abs=1e-6)
    point = new[:2].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda points: rbf(fit_rbf(clean, attacked, 0), points), point)


def test_features_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="finite features"):
        fit_linear(torch.full((2, 1), torch.nan), torch.zeros(2, 1), 0)


def test_what_lies_after_the_exit_changes_nothing(digits_target: EarlyExitTarget) -> None:
    inputs = torch.rand(6, *digits_target.space.shape, generator=torch.Generator().manual_seed(0))
    found = digits_target.signals(inputs)
    exits = torch.tensor([0, 1, 2, 3, 4, 5])
    features = of_exits(found, exits, 6)
    later = torch.arange(6)[None, :, None] > exits[:, None, None]
    other = replace(found, logits=torch.where(later, torch.randn_like(found.exit_logits), found.exit_logits))
    assert torch.equal(of_exits(other, exits, 6), features)
    assert not torch.equal(of_exits(replace(found, logits=found.exit_logits.flip(1)), exits, 6), features)


def test_what_lies_after_the_end_changes_nothing() -> None:
    target = PeakTarget(peak=10.2, slope=20)
    found = target.signals(torch.tensor([0.5, 0.7]).view(2, 1, 1, 1).expand(2, 1, 4, 4))
    later = ~found.mask
    noise = torch.randn_like(found.logits)
    other = replace(
        found,
        logits=torch.where(later[..., None], noise, found.logits),
        ids=torch.where(later, torch.randint(0, 3, found.ids.shape), found.ids),
    )
    assert torch.equal(of_steps(other), of_steps(found))


def test_steps_are_pooled_as_numpy_does() -> None:
    target = PeakTarget(peak=10.2, slope=20)
    found = target.signals(torch.full((1, 1, 4, 4), 0.5))
    count = int(found.mask.sum())
    ends = found.logits.double().log_softmax(-1)[0, :count, 0].numpy()
    slope = np.polyfit(np.arange(count), ends, 1)[0]
    wanted = [ends.mean(), ends.std(), ends.min(), ends.max(), ends[0], ends[-1], slope]
    assert of_steps(found)[0, :7].numpy() == pytest.approx(wanted, rel=1e-4)
    words = found.ids[0, :count].tolist()
    assert of_steps(found)[0, -2].item() == pytest.approx(1 - len(set(words)) / count)


def test_a_median_is_that_of_scipy() -> None:
    images = torch.rand(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    wanted = median_filter(images.numpy(), size=(1, 1, 3, 3), mode="mirror")
    assert median(images).numpy() == pytest.approx(wanted)


def test_a_language_model_scores_its_own_prompts() -> None:
    target = ToyText()
    score = Perplexity().row_scores(target, ("ab", "a", ""), {})
    logits = target.soft_logits(target.embedding_matrix()[list(target.codec.encode("a"))].unsqueeze(0))
    wanted = -logits[0, 0].double().log_softmax(-1)[target.codec.encode("b")[0]]
    assert score.tolist() == pytest.approx([wanted.item(), 0, 0])


def test_texts_unlike_those_that_were_counted_score_higher() -> None:
    target = Translator()
    model = count_characters(["the cat sat on the mat", "the dog saw the cat"] * 5)
    known, mixed, strange = Perplexity().row_scores(target, ("the cat saw the dog", "eht tac was", "Q9#~}"), model)
    assert known < mixed < strange
    scores = [Perplexity().row_scores(target, (f"the{letter}",), model) for letter in (" ", "x")]
    assert scores[0] < scores[1]


def test_a_trace_costs_less_than_a_percent_of_zoo_targets(digits_target: EarlyExitTarget) -> None:
    from torpor.targets.resolve import load_target

    for target in (digits_target, load_target("captioner-scenes-gru"), load_target("detector-scenes")):
        blank = torch.zeros(1, *target.space.shape)  # type: ignore[attr-defined]
        width = read(target, target.signals(blank)).shape[1]
        rng = torch.Generator().manual_seed(0)
        clean, attacked, others = (torch.rand(20, *blank.shape[1:], generator=rng) for _ in range(3))
        detector = Trace().fit(target, clean, attacked, others)
        assert 0 < 2 * width <= detector.flops(target) < 0.01 * target.prices.cost(target.least_work()).item()


def test_nothing_to_see_is_a_number() -> None:
    target = LampTarget()
    found = target.signals(torch.zeros(2, 1, 16, 24))
    assert read(target, found).isfinite().all()
    assert isinstance(target.run(torch.zeros(1, 1, 16, 24)).outputs[0], Objects)
