"""Mine a target's natural inputs, or a log's recorded tokens, for expensive ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from torpor.audits.mining.budgeted import within_budget
from torpor.audits.mining.clusters import clustered
from torpor.audits.mining.inputs import NaturalInputs
from torpor.audits.mining.left_out import LeftOut, number_of, unread
from torpor.audits.mining.measured import MeasuredWork, Tell, measured
from torpor.audits.mining.mined import MinedInputs, cut_short
from torpor.audits.mining.ranking import ROUNDING, expensive, natural_tail, ranked, typical
from torpor.audits.mining.rivals import rivals
from torpor.audits.mining.surrogate import SurrogateRecall
from torpor.audits.read import SavedAudit
from torpor.core.batches import Samples
from torpor.core.conversation import shown_turn
from torpor.core.errors import DataError
from torpor.core.work import PriceList
from torpor.data.logs.reader import UNKNOWN, InputLog
from torpor.data.logs.request import UNITS
from torpor.targets.base import Target

WRITTEN = [UNITS.index("output_token"), UNITS.index("reasoning_token")]
MANY = 3
"""Requests that wrote the same most tokens: a cap may have ended them."""


def mine(
    target: Target,
    inputs: NaturalInputs,
    *,
    share: float = 1.0,
    top: int = 20,
    prices: PriceList | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    tell: Tell = lambda done, total: None,
) -> MinedInputs:
    """Run inputs as deployed, and return the costliest with the reasons.

    Args:
        target: what runs.
        inputs: natural ones.
        share: of them that may be run; less than 1 asks a surrogate which.
        top: how many are returned at most.
        prices: of the target's units; its own if None.
        batch_size: inputs per batch; as the target's family has it if None.
        seed: of the sample and the surrogate.
        tell: called after each batch.

    Raises:
        UsageError: if the share is too small for a surrogate.
        DataError: if an input cannot be read any more.

    >>> from torpor.audits.mining.inputs import NaturalTexts
    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> toy = ToyText()
    >>> texts = NaturalTexts("log", [("line 1", "a"), ("line 2", "99"), ("line 3", "a 1")], toy.space)
    >>> costliest = mine(toy, texts, top=1).top[0]
    >>> costliest.place, costliest.unit, costliest.counts
    ('line 2', 'decoder_step', (1, 19))
    """
    target.family.check(target)
    prices, size = prices or target.prices, batch_size or target.family.batch_size
    sample: int | None = None
    recall: SurrogateRecall | None = None
    if share < 1:
        budgeted = within_budget(target, inputs, share, prices, size, seed, tell)
        work, sample, recall = budgeted.work, budgeted.sample, budgeted.recall
    else:
        work = measured(target, inputs, range(len(inputs)), prices, size, tell)
    times = np.asarray(inputs.times, dtype=np.int64)
    order = ranked(work, top)
    found = _assembled(
        inputs.source,
        work,
        order,
        times[work.rows],
        [inputs.places[row] for row in work.rows[order]],
        tuple(unit.name for unit in target.units),
        prices,
        inputs.read(work.rows[order].tolist()),
        sample,
    )
    shown = tuple(replace(each, text=cut_short(inputs.shown(each.row))) for each in found.top)
    return replace(
        found,
        target=target.name,
        n=int(times.sum()),
        distinct=len(inputs),
        top=shown,
        left_out=tuple(inputs.left_out),
        sample=sample,
        recall=recall,
    )


def mine_tokens(
    log: InputLog, *, top: int = 20, prices: PriceList | None = None, cap: int | None = None
) -> MinedInputs:
    """Rank the requests of a log by the tokens that were recorded; nothing is run.

    Args:
        log: with recorded tokens.
        top: how many requests are returned at most.
        prices: of each of :data:`~torpor.data.logs.request.UNITS`; one token each if None.
        cap: tokens that an answer may have had at most, where the log does not tell.

    Raises:
        DataError: if no request of the log has recorded tokens.
    """
    counts = np.frombuffer(log.counts, dtype=np.int64).reshape(-1, len(UNITS))
    known = np.flatnonzero(counts[:, 0] != UNKNOWN)
    if not len(known):
        raise DataError(f"expected recorded tokens in {log.path}, got none; pass --target to run its texts")
    counts, caps = counts[known], np.frombuffer(log.caps, dtype=np.int64)[known]
    prices = prices or PriceList("tokens", (1.0,) * len(UNITS))
    per_unit = np.asarray(prices.per_unit, dtype=np.float64)
    work = MeasuredWork(known, counts, per_unit, _bounds(counts, caps, per_unit, cap))
    order = ranked(work, top)
    texts = [log.texts[row] for row in known[order]]
    found = _assembled(
        str(log.path),
        work,
        order,
        np.ones(len(known), dtype=np.int64),
        [log.place(row) for row in known[order].tolist()],
        UNITS,
        prices,
        tuple(map(str, texts)) if all(texts) else None,
        None,
    )
    left_out = unread(log)
    if without := len(log) - len(known):
        left_out.append(LeftOut(f"{number_of(without, 'request')} without recorded tokens and left out"))
    shown = [None if text is None else cut_short(shown_turn(text)) for text in texts]
    top_shown = tuple(replace(each, text=text) for each, text in zip(found.top, shown, strict=True))
    return replace(found, top=top_shown, left_out=tuple(left_out), said=(*found.said, *_capped(counts)))


def compared(found: MinedInputs, audit: SavedAudit) -> MinedInputs:
    """Return the same beside the attacks of an audit of the same target.

    Raises:
        UsageError: if the audit is of another target or currency.
        DataError: if it cannot be read, or attacked nothing.
    """
    attacks, said = rivals(audit, str(found.target), found.currency, found.tail.max)
    return replace(found, attacks=tuple(attacks), said=(*found.said, *said))


def _bounds(
    counts: NDArray[np.int64], caps: NDArray[np.int64], prices: NDArray[np.float64], cap: int | None
) -> NDArray[np.float64]:
    """Return what each request may have cost at most: what it read, and its cap in the costlier kind of tokens."""
    caps = np.where((caps == UNKNOWN) & (cap is not None), cap or 0, caps)
    read = np.delete(counts * prices, WRITTEN, axis=1).sum(1)
    return np.where(caps == UNKNOWN, np.nan, read + caps * prices[WRITTEN].max())


def _capped(counts: NDArray[np.int64]) -> tuple[str, ...]:
    """Say whether many requests wrote the same most tokens."""
    written = counts[:, WRITTEN].sum(1)
    most = int(written.max())
    same = int((written == most).sum())
    if same < MANY or most == int(written.min()):
        return ()
    return (f"{same:,} requests wrote exactly {most:,} tokens, the most of all: a cap may have ended them.",)


def _assembled(
    source: str,
    work: MeasuredWork,
    order: NDArray[np.int64],
    times: NDArray[np.int64],
    places: Sequence[str],
    units: tuple[str, ...],
    prices: PriceList,
    stored: Samples | None,
    sample: int | None,
) -> MinedInputs:
    """Put together what does not depend on where the work is from."""
    usual = typical(work.counts[:sample], times[:sample])
    tail = natural_tail(work, times, sample)
    top = expensive(work, order, usual, units, places, times[order].tolist(), tail.p50)
    marked, clusters = clustered(top, stored)
    return MinedInputs(
        source=source,
        target=None,
        n=int(times.sum()),
        distinct=len(work),
        ran=len(work),
        currency=prices.currency,
        units=units,
        prices=prices.per_unit,
        usual=tuple(usual.tolist()),
        tail=tail,
        top=tuple(marked),
        clusters=tuple(clusters),
        sample=sample,
        said=_tied(work, top[-1].cost, len(top)),
    )


def _tied(work: MeasuredWork, last: float, listed: int) -> tuple[str, ...]:
    """Say how many inputs that are not listed cost as much as the last one that is."""
    more = int((work.cost >= last * (1 - ROUNDING)).sum()) - listed
    return (f"{number_of(more, 'input')} not listed and cost as much as the last one that is.",) if more else ()
