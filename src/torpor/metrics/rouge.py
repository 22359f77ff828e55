"""ROUGE-L: how much of a reference text was said, in its order."""

from __future__ import annotations


def rouge_l(text: str, reference: str) -> float:
    """Return the F1 score of the longest common subsequence of words (Lin, ACL workshop 2004), from 0 to 1.

    >>> rouge_l("a red three .", "a large red one .")
    0.6666666666666666
    """
    said, wanted = text.split(), reference.split()
    row = [0] * (len(wanted) + 1)
    for word in said:
        diagonal = 0
        for place, other in enumerate(wanted, 1):
            diagonal, row[place] = row[place], diagonal + 1 if word == other else max(row[place], row[place - 1])
    return 2 * row[-1] / (len(said) + len(wanted)) if row[-1] else 0.0
