"""Parts of discrete searches over texts: goal x constraints x transformations x search (TextAttack's split)."""

from torpor.attacks.text.search.constraints import Sendable, insertable, readable
from torpor.attacks.text.search.driver import Search, TextSearch, drive
from torpor.attacks.text.search.goal import Answers, ask, decoder_steps
from torpor.attacks.text.search.gradients import Loss, TokenGradient, first_order, token_gradient
from torpor.attacks.text.search.search import Move, greedy
from torpor.attacks.text.search.tally import Tally

__all__ = [
    "Answers",
    "Loss",
    "Move",
    "Search",
    "Sendable",
    "Tally",
    "TextSearch",
    "TokenGradient",
    "ask",
    "decoder_steps",
    "drive",
    "first_order",
    "greedy",
    "insertable",
    "readable",
    "token_gradient",
]
