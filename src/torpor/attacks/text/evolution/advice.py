"""What gradients propose to an evolutionary search: one token exchanged, the lowest first-order loss first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torpor.attacks.text.exits.gates import open_gates
from torpor.attacks.text.nmtsloth import LateEnd
from torpor.attacks.text.search.constraints import insertable
from torpor.attacks.text.search.gradients import first_order, lowest, token_gradient
from torpor.attacks.text.search.tally import Tally
from torpor.core.signals import GateSignals
from torpor.targets.decoder.contract import TextTarget

Advice = Callable[[int, Tally, str], Iterator[str]]
"""From a sample's row, what is known and spent, and a text to texts that are one token away from it, best first."""


def advice(target: TextTarget) -> Advice:
    """Return what proposes substitutions of tokens by NMTSloth's loss, or by the margins of gates where there are any.

    Args:
        target: whose gradients are followed.
    """
    codec, matrix = target.space.codec, target.embedding_matrix().detach()
    allowed = insertable(codec, len(matrix))
    signals = target.family.signals
    loss = open_gates if signals is not None and issubclass(signals, GateSignals) else LateEnd()

    def propose(row: int, tally: Tally, text: str) -> Iterator[str]:
        gradient = token_gradient(target, text, loss)
        tally.note(row, gradient)
        ids = gradient.ids.tolist()
        changes = first_order(gradient, matrix, allowed)
        for where, token in lowest(changes):
            yield codec.decode((*ids[:where], token, *ids[where + 1 :]))

    return propose
