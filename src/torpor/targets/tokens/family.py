"""Transformers that compute part of their tokens: what is measured of them beside cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.budget import PATCHES, Budget
from torpor.core.measures import Measure
from torpor.core.work import Outcome, Work
from torpor.targets.early_exit.family import GateFamily
from torpor.targets.family import Columns, Ran
from torpor.targets.tokens.signals import TokenSignals
from torpor.targets.tokens.under import TokensRun, tokens_apart

_NO_PATCH = "the budget is no patch, tokens are no square grid, or a defense moves images"
_tokens = partial(Measure, level="sample", dimension="count", better="low", null=_NO_PATCH, dtype=int)
_share = partial(Measure, level="row", dimension="ratio", better="low", null=_NO_PATCH)

APART: tuple[Measure, ...] = (
    _tokens(
        "tokens_under",
        title="tokens under the patch",
        help="Image tokens that look at a pixel of the patch and ran, over all layers.",
    ),
    _tokens(
        "tokens_under_clean",
        title="clean tokens there",
        help="The same of the clean input: tokens that look at pixels which the patch covers, and ran.",
    ),
    _tokens(
        "tokens_under_most",
        title="tokens there, at most",
        help="Tokens that look at a pixel of the patch, over all layers: the most that can run there.",
    ),
    _tokens(
        "tokens_elsewhere",
        title="tokens elsewhere",
        help="Image tokens that look at no pixel of the patch and ran, over all layers.",
    ),
    _tokens(
        "tokens_elsewhere_clean",
        title="clean tokens elsewhere",
        help="The same of the clean input.",
    ),
    _share(
        "token_share_under",
        title="token utilization under the patch",
        help="Tokens that ran under the patch, over all layers, as a share of all tokens there.",
    ),
    _share(
        "token_share_under_clean",
        title="clean token utilization there",
        help="The same of the clean inputs.",
    ),
    _share(
        "token_share_elsewhere",
        title="token utilization elsewhere",
        help="Tokens that ran outside of the patch, over all layers, as a share of all tokens there.",
        null=f"{_NO_PATCH}, or the patch covers the image",
    ),
    _share(
        "token_share_elsewhere_clean",
        title="clean token utilization elsewhere",
        help="The same of the clean inputs.",
        null=f"{_NO_PATCH}, or the patch covers the image",
    ),
)
"""Tokens under a patch, and all others."""


class TokenFamily(GateFamily):
    """Vision transformers that skip tokens."""

    id: ClassVar[str] = "tokens"
    needs: ClassVar[tuple[str, ...]] = ("tokens", "token_count")
    signals: ClassVar[type | None] = TokenSignals
    measures: ClassVar[tuple[Measure, ...]] = (
        *GateFamily.measures,
        Measure("patches", "sample", "count", "patches", "Patches that ran, over all layers.", better="low", dtype=int),
        Measure("patches_mean", "row", "count", "patches run", "Mean patches that ran, over all layers.", better="low"),
        Measure(
            "token_share",
            "row",
            "ratio",
            "token utilization",
            "Patches that ran, over all layers, as a share of all patches (token utilization ratio, TUR).",
            better="low",
            on_console=True,
        ),
        *APART,
    )

    @override
    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:
        own = super().observe(target, clean, outcome, static, references)
        return {**own, "patches": target.tokens(outcome.work)}

    @override
    def locate(self, clean: Ran[Any], attacked: Ran[Any], budget: Budget) -> Columns:
        if budget.norm not in PATCHES:
            return {}
        before, after = (_apart(each, budget) for each in (clean, attacked))
        if before is None or after is None:
            return {}
        return {
            "tokens_under": after.under,
            "tokens_under_clean": before.under,
            "tokens_under_most": [after.most_under] * len(after.under),
            "tokens_elsewhere": after.elsewhere,
            "tokens_elsewhere_clean": before.elsewhere,
        }

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        mean = sum(columns["patches"]) / len(columns["patches"])
        return {"patches_mean": mean, "token_share": mean / bare.token_count, **_shares(bare.token_count, columns)}


def _apart(run: Ran[Any], budget: Budget) -> TokensRun | None:
    return tokens_apart(run.signals.alive, run.inputs, run.target.tokens(run.outcome.work), budget)


def _shares(count: int, columns: Columns) -> dict[str, float | None]:
    """Return the shares of ``count`` tokens that ran under the patch and elsewhere; None where there is no patch."""
    most = columns["tokens_under_most"][0]
    places = {"under": most, "elsewhere": None if most is None else count - most}
    found = dict[str, float | None]()
    for place, there in places.items():
        for clean in ("", "_clean"):
            ran = columns[f"tokens_{place}{clean}"]
            found[f"token_share_{place}{clean}"] = sum(ran) / (there * len(ran)) if there else None
    return found
