"""(h) Scoring candidate texts all at once, or one by one: ``python -m benchmarks.candidate_scoring``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from benchmarks.common import Options, Row, busy, command, interleave, translators
from torpor.attacks.text.nmtsloth import LateEnd, NMTSlothToken
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.goal import decoder_steps
from torpor.attacks.text.search.gradients import token_gradient
from torpor.targets.decoder.contract import generated_length
from torpor.targets.decoder.generation.texts import SourceTarget

GOAL = 0.1
MOST = 256


def candidates(target: SourceTarget, text: str, most: int = MOST) -> tuple[str, ...]:
    """Return what the attack would try in its first round, the first ``most`` of them."""
    attack = NMTSlothToken()
    proposed = attack.neighbors(target)(text, token_gradient(target, text, LateEnd()))
    fits = Sendable(target.space, attack.budget)
    return tuple(islice((found for found in dict.fromkeys(proposed) if fits(text, found)), most))


def one_by_one(target: SourceTarget, texts: Sequence[str]) -> list[int]:
    """Return how many tokens transformers' own ``generate`` makes of each text, without torpor."""
    lengths = []
    for text in texts:
        given = target.codec.tokenizer(text, return_tensors="pt")
        ids = target.model.generate(input_ids=given.input_ids, attention_mask=given.attention_mask)
        lengths.append(generated_length(ids[0, 1:].tolist(), target.eos, target.cap)[0])
    return lengths


def candidate_scoring(target: SourceTarget, text: str, options: Options, *, most: int = MOST, rounds: int = 3) -> Row:
    """Compare the times to the lengths of all candidates of one text; both must find the same ones."""
    texts = candidates(target, text, most)
    ours, theirs = decoder_steps(target, texts), one_by_one(target, texts)
    assert ours == theirs, "the two find other lengths"
    assert texts[ours.index(max(ours))] == texts[theirs.index(max(theirs))]
    times = interleave(
        {"ours": lambda: decoder_steps(target, texts), "theirs": lambda: one_by_one(target, texts)},
        options,
        rounds=rounds,
        warmup=0,
    )
    value, ci95 = times.estimate(lambda median: median["ours"] / median["theirs"])
    each = 1e3 * times.seconds["ours"].mean() / len(texts)
    note = f"{len(texts)} candidates of {min(ours)} to {max(ours)} tokens, {each:.1f} ms per candidate{busy(times)}"
    return Row(f"(h) candidates scored at once / by generate one by one, {target.name}", value, ci95, GOAL, note=note)


def run(options: Options) -> list[Row]:
    """Compare on the first text of the test split."""
    return [candidate_scoring(target, texts[0], options) for target, texts in translators(1, options)]


if __name__ == "__main__":
    command(run)
