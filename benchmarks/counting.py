"""(c) What does counting work cost on top of a plain loop? ``python -m benchmarks.counting``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import (
    Options,
    Row,
    busy,
    caption_steps,
    captioner,
    command,
    images,
    interleave,
    network,
    translators,
)
from torpor.core.batches import Samples
from torpor.targets.base import Target
from torpor.targets.decoder.captioner import CaptionerTarget
from torpor.targets.decoder.generation import loop
from torpor.targets.decoder.generation.texts import SourceTarget
from torpor.targets.early_exit.target import EarlyExitTarget

GOAL = 1.03
LOOP = "plain loop"

Plain = Callable[[Any, Any], object]
"""Does for a target and a batch what a deployment does, which checks and counts nothing."""


@torch.no_grad()
def plain_exits(target: EarlyExitTarget, inputs: Tensor) -> Tensor:
    """Return the logits that each sample leaves with."""
    features = inputs
    outputs = torch.empty(len(inputs), target.classes)
    rows = torch.arange(len(inputs))
    history = torch.empty(len(inputs), 0, target.classes)
    last = len(target.blocks) - 1
    for k, (_, head) in enumerate(target.blocks[:last]):
        features = target.stage(k, features)
        logits = head(features)
        history = torch.cat([history, logits.unsqueeze(1)], dim=1)
        leaves = target.rule.margin(history) >= 0
        if leaves.any():
            done = rows[leaves]
            outputs[done] = logits[leaves]
            if len(done) == len(rows):
                return outputs
            stays = ~leaves
            rows, features, history = rows[stays], features[stays], history[stays]
    outputs[rows] = target.blocks[last][1](target.stage(last, features))
    return outputs


@torch.no_grad()
def plain_captions(target: CaptionerTarget, inputs: Tensor) -> list[str]:
    """Return what is said about each image; a caption that ended leaves."""
    ids = torch.full((len(inputs), target.cap), target.network.vocabulary.end)
    for place, (rows, tokens, _) in enumerate(caption_steps(target, inputs)):
        ids[rows, place] = tokens
    return [target.network.vocabulary.decode(row) for row in ids.tolist()]


def generated(target: SourceTarget, inputs: tuple[str, ...]) -> list[str]:
    """Return what transformers' own ``generate`` makes of a batch of texts, which all stay until the last has ended."""
    return _texts(target, inputs, {})


def plain_texts(target: SourceTarget, inputs: tuple[str, ...]) -> list[str]:
    """Return the same by torpor's own loop, from which texts leave that have ended, without all that it takes note of.

    Processors of scores are left out, of which the zoo's models have none.
    """
    return _texts(target, inputs, {"custom_generate": _greedy(torch.tensor(target.eos), target.cap)})


def _greedy(eos: Tensor, cap: int) -> Callable[..., Tensor]:
    def greedy(
        model: Any,  # noqa: ANN401
        input_ids: Tensor,
        logits_processor: object,
        stopping_criteria: object,
        generation_config: object,
        **model_kwargs: Any,  # noqa: ANN401
    ) -> Tensor:
        ids = torch.full((len(input_ids), 1 + cap), int(eos[0]))
        rows = torch.arange(len(input_ids))
        for step in range(cap):
            logits, model_kwargs = loop._forward(model, input_ids, model_kwargs, first=step == 0)
            tokens = logits.argmax(-1)
            ids[rows, 1 + step] = tokens
            stays = ~torch.isin(tokens, eos)
            input_ids = torch.cat([input_ids, tokens.unsqueeze(1)], 1)
            if not stays.all():
                kept = stays.nonzero().flatten()
                if len(kept) == 0:
                    break
                rows, input_ids = rows[kept], input_ids[kept]
                model_kwargs = loop._keep(model_kwargs, kept, len(stays))
        return ids

    return greedy


def _texts(target: SourceTarget, inputs: tuple[str, ...], method: dict[str, Any]) -> list[str]:
    tokenizer = target.codec.tokenizer
    given = tokenizer(list(inputs), padding=True, return_tensors="pt")
    ids = target.model.generate(input_ids=given.input_ids, attention_mask=given.attention_mask, **method)
    texts: list[str] = tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return texts


def counting(
    target: Target, inputs: Samples, batch_size: int, plain: Plain, title: str, options: Options, *, rounds: int
) -> Row:
    """Compare ``target.run`` with what a deployment does, ``batch_size`` inputs at a time."""
    batches = [inputs[start : start + batch_size] for start in range(0, len(inputs), batch_size)]
    times = interleave(
        {
            "run": lambda: [target.run(batch) for batch in batches],
            "plain": lambda: [plain(target, batch) for batch in batches],
        },
        options,
        rounds=rounds,
    )
    value, ci95 = times.estimate(lambda median: median["run"] / median["plain"])
    note = f"{1e3 * times.seconds['plain'].mean() / len(inputs):.2f} ms per input{busy(times)}"
    return Row(f"(c) run with counts / {title}, {target.name}, batch {batch_size}", value, ci95, GOAL, note=note)


def run(options: Options) -> list[Row]:
    """Compare at batch 1 and with large batches."""
    exits = network()
    inputs, _ = images(exits, 256, options)
    rows = [
        counting(exits, inputs[:32], 1, plain_exits, LOOP, options, rounds=15),
        counting(exits, inputs, 128, plain_exits, LOOP, options, rounds=15),
    ]
    target, scenes = captioner(128)
    rows += [
        counting(target, scenes[:16], 1, plain_captions, LOOP, options, rounds=15),
        counting(target, scenes, 128, plain_captions, LOOP, options, rounds=15),
    ]
    for reader, texts in translators(64, options):
        for title, plain in (("generate", generated), (LOOP, plain_texts)):
            rows.append(counting(reader, texts[:8], 1, plain, title, options, rounds=9))
            rows.append(counting(reader, texts, 64, plain, title, options, rounds=9))
    return rows


if __name__ == "__main__":
    command(run)
