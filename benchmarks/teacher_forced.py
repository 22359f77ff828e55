"""(g) Teacher-forced gradient beside one through every decoding step: ``python -m benchmarks.teacher_forced``."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.common import Options, Row, busy, command, interleave, translators
from torpor.attacks.text.nmtsloth import LateEnd
from torpor.core.signals import StepSignals
from torpor.core.work import Work
from torpor.targets.decoder.generation.texts import SourceTarget

GOAL = 1.0
ALIKE = 1e-5


def forced(target: SourceTarget, texts: Sequence[str]) -> tuple[StepSignals, Tensor]:
    """Decode without gradients, then differentiate one pass over all steps: the signals and the gradient."""
    signals = target.signals(texts)
    return signals, _gradient(signals)


def stepwise(target: SourceTarget, texts: Sequence[str]) -> tuple[StepSignals, Tensor]:
    """Decode once, with gradients: a loop of forwards of one token, whose cache of keys and values is in the graph."""
    from transformers.modeling_outputs import BaseModelOutput

    model, encoder, eos = target.model, target.model.get_encoder(), torch.tensor(target.eos)
    scale = getattr(encoder, "embed_scale", 1.0)  # Marian multiplies what it looks up, but not what it is given
    given, own = target.reader.pad(target.reader.rows(texts))
    embeddings = target.embedding(given).detach().requires_grad_()
    seen = encoder(inputs_embeds=embeddings * scale, attention_mask=own).last_hidden_state
    rows, cache = torch.arange(len(texts)), None
    tokens = torch.full_like(rows, model.generation_config.decoder_start_token_id)
    logits: list[list[Tensor]] = [[] for _ in texts]
    ids: list[list[int]] = [[] for _ in texts]
    for _ in range(target.cap):
        found = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=seen),
            attention_mask=own,
            decoder_input_ids=tokens.unsqueeze(1),
            past_key_values=cache,
            use_cache=True,
        )
        cache, scores = found.past_key_values, found.logits[:, -1]
        tokens = scores.detach().argmax(-1)
        for row, token, score in zip(rows.tolist(), tokens.tolist(), scores, strict=True):
            ids[row].append(token)
            logits[row].append(score)
        stays = (~torch.isin(tokens, eos)).nonzero().flatten()
        if len(stays) == 0:
            break
        if len(stays) < len(rows):
            rows, tokens, own, seen = rows[stays], tokens[stays], own[stays], seen[stays]
            cache.reorder_cache(stays)
    lengths = torch.tensor([len(row) for row in ids])
    signals = StepSignals(
        logits=pad_sequence([torch.stack(row) for row in logits], batch_first=True),
        ids=pad_sequence([torch.tensor(row) for row in ids], batch_first=True),
        mask=torch.arange(int(lengths.max())) < lengths.unsqueeze(1),
        eos=target.eos,
        work=Work(lengths.unsqueeze(1)),
        embeddings=embeddings,
    )
    return signals, _gradient(signals)


def _gradient(signals: StepSignals) -> Tensor:
    assert signals.embeddings is not None
    (gradient,) = torch.autograd.grad(LateEnd()(signals).sum(), signals.embeddings)
    return gradient


def difference(target: SourceTarget, texts: Sequence[str]) -> float:
    """Return the norm of the difference of the two gradients, as a share of the gradient's, at most ``ALIKE``."""
    ours, theirs = forced(target, texts), stepwise(target, texts)
    assert torch.equal(ours[0].ids * ours[0].mask, theirs[0].ids), "the two decode other texts"
    found = float(torch.linalg.vector_norm(ours[1] - theirs[1]) / torch.linalg.vector_norm(theirs[1]))
    assert found <= ALIKE, f"expected gradients that differ by {ALIKE} or less, got {found}"
    return found


def teacher_forced(
    target: SourceTarget, texts: Sequence[str], batch_size: int, options: Options, *, rounds: int
) -> Row:
    """Compare the time to a gradient of NMTSloth's loss from texts, ``batch_size`` at once; both decode them first."""
    batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
    double = copy.deepcopy(target)
    double.model.double()
    apart = max(difference(double, batch) for batch in batches)
    times = interleave(
        {
            "forced": lambda: [forced(target, batch) for batch in batches],
            "stepwise": lambda: [stepwise(target, batch) for batch in batches],
        },
        options,
        rounds=rounds,
        warmup=1,
    )
    value, ci95 = times.estimate(lambda median: median["forced"] / median["stepwise"])
    each = 1e3 * times.seconds["forced"].mean() / len(texts)
    note = f"{each:.0f} ms per text; in float64 gradients differ by {apart:.0e}{busy(times)}"
    return Row(
        f"(g) teacher-forced gradient / step by step, {target.name}, batch {batch_size}", value, ci95, GOAL, note=note
    )


def run(options: Options) -> list[Row]:
    """Compare for one text at a time, as attacks on texts do, and for batches."""
    return [
        teacher_forced(target, texts, batch_size, options, rounds=7)
        for target, texts in translators(16, options)
        for batch_size in (1, 16)
    ]


if __name__ == "__main__":
    command(run)
