"""A router of texts: only one model runs, to the FLOP, and the gate's gradient says what it would take."""

from __future__ import annotations

import pytest
import torch
from text_encoders import CODEC, LONGEST, OTHER_TEXTS, TEXTS, routing

from torpor.core.errors import UsageError
from torpor.meters.flops import counting
from torpor.targets.text.routed import RoutedTarget
from torpor.zoo.text.encoder import ExitEncoder
from torpor.zoo.text.router import Router, SmallParts, SmallReader

ALL = (*TEXTS, *OTHER_TEXTS)


def test_one_model_runs_and_each_text_is_counted_as_alone() -> None:
    target = routing()
    outcome = target.run(ALL)
    sent = target.expensive(outcome.work)
    assert 0 < int(sent.sum()) < len(ALL)
    assert target.family.profile(target, outcome.work, ()) == {"expensive_share": float(sent.double().mean())}
    for row, text in enumerate(ALL):
        with counting() as counter:
            alone = target.run((text,))
        assert counter.flops == target.prices.cost(alone.work).item()
        assert alone.work.counts.equal(outcome.work.counts[row : row + 1])
        ids = torch.tensor(target.tokenized((text,)))
        with torch.no_grad():
            known = target.parts["large" if sent[row] else "cheap"](ids)
        assert torch.allclose(outcome.outputs[row], known[0], atol=1e-5)
        assert bool(sent[row]) == (float(target.parts["gate"](ids)) > target.threshold)


def test_bounds_hold_and_the_last_rung_asks_the_cheap_model_alone() -> None:
    target = routing()
    for one in (target, target.at_rung(1), target.with_threshold(-1e9)):
        work, most = one.run(ALL).work, one.max_work(ALL)
        assert (work.counts <= most.counts).all()
        assert (one.prices.cost(most) <= one.prices.cost(one.static_work())).all()
        assert (one.prices.cost(one.least_work()) <= one.prices.cost(work)).all()
    assert target.expensive(target.with_threshold(-1e9).run(ALL).work).all()
    assert not target.expensive(target.at_rung(1).run(ALL).work).any()
    assert target.at_rung(1).fingerprint() != target.fingerprint()


def test_signals_are_those_of_the_run_and_follow_the_gate() -> None:
    target = routing()
    signals = target.signals(ALL)
    assert signals.work.counts.equal(target.run(ALL).work.counts)
    assert ((signals.margins[:, 0] < 0).tolist()) == target.expensive(signals.work).tolist()
    assert signals.embeddings is not None
    (gradient,) = torch.autograd.grad(signals.margins.sum(), signals.embeddings)
    assert (gradient.abs().sum((1, 2)) > 0).all()


def test_models_of_other_classes_are_refused() -> None:
    small = SmallParts(CODEC.size)
    router = Router(small, ExitEncoder(CODEC.size, dim=8, depth=2, heads=2, longest=LONGEST))
    router.cheap = SmallReader(CODEC.size, 7)
    with pytest.raises(UsageError, match="class scores"):
        RoutedTarget(router, CODEC, 0.0, longest=LONGEST)
