"""What reliability flags mean, in the words of the reports."""

from __future__ import annotations

FLAGS = {
    "no-effect": "The attack did not increase the cost of any sample: the target is immune, or the attack does not "
    "work on it.",
    "dead-gradients": "The first gradient was exactly zero for most samples, so the search had no direction; "
    "read the slowdown as a lower limit.",
    "cut-off": "The attacks reached a limit on what they may spend before all samples were attacked: every figure of "
    "the row is a lower limit.",
    "budget-unused": "The attack left much of its budget unspent; more or larger steps may cost the target more.",
    "surrogate-not-tracking": "For over a tenth of the samples the attack's objective fell but the cost did not rise: "
    "the objective does not track the cost, and an attack with another objective may cost the target more.",
    "black-box-beats-white-box": "For over a tenth of the samples the ensemble's gradient-free member won: the "
    "gradients are misleading, and the worst case has not been found.",
    "control-beats-attack": "A control of the same budget, which optimizes nothing, costs as much on average or more: "
    "the attack is no better than random changes, and its figure does not measure the worst case.",
    "natural-tail-above-attack": "One in a thousand natural inputs costs more than the costliest input that the attack "
    "found: what users send is worse than what the attack sends, so the attack has not found the worst case.",
    "fit-failed": "What the attack learned raises the cost of none of the inputs that it learned from: the fit failed, "
    "and the row tells of that rather than of the target.",
    "one-sample": "One sample has no interval, and tells nothing of others.",
    "cap-reached-by-chance": "A control of the same budget takes nine in ten samples to the cap or the static bound, "
    "as the attack does: it takes no optimization to get there.",
    "bound-exceeded": "Some input costs more than a bound allows: that bound is wrong, whatever it was proven from, so "
    "nothing is certified in this audit. What the attack found is right.",
    "unanswered": "To some input an answer never came, or one that broke off: what the server did for it is not known, "
    "and the cost is a lower limit.",
    "misbilled": "The bill of some answer is not what was seen of it: parts of the stream, words, bytes. The larger "
    "figure counts, and it may still be too low.",
    "over-the-cap": "Some answer is longer than was asked for: the server does not hold to the cap, and the static "
    "bound of that input is what was seen.",
    "varying-answers": "Some input got answers of different lengths to equal requests: the server is not "
    "deterministic, and a figure of one input is one draw. Ask each input several times: repeats=4 behind the address.",
    "nothing-to-measure": "Every clean input is at the cap or the static bound from the start (or the defense rejects "
    "it), so no attack could raise its cost: the row shows that the cap holds, and nothing about the target below it.",
}
NOT_LOW = ("nothing-to-measure", "cap-reached-by-chance", "bound-exceeded", "over-the-cap", "varying-answers")
"""Flags that do not mean that an attack may have missed the worst case."""


def explain_flag(flag: str) -> str:
    """Return the sentence that explains a reliability flag.

    >>> explain_flag("budget-unused")[:10]
    'The attack'
    """
    return FLAGS.get(flag, "This report has no explanation for the flag; treat the row as a lower limit.")
