"""Keys of the summary rows of every audit; the target's family adds its own."""

from __future__ import annotations

from functools import partial

from torpor.core.measures import ELSEWHERE, Measure

_key = partial(Measure, level="row")
_ratio, _cost = partial(_key, dimension="ratio"), partial(_key, dimension="cost", better="low")
_count = partial(_key, dimension="count", dtype=int)
_words = partial(_key, dimension="text", dtype=str)

_CLEAN_ROW = "only clean rows of defenses say what the defense does to clean inputs"
_TEXTS, _DENSE = "only texts have edits", "texts have no such distance"
UNBOUND = "no bound was asked for: see --bounds"
"""Why nothing is certified in most audits."""

CERTIFIED: tuple[Measure, ...] = (
    _cost(
        "certified_cost_mean",
        title="mean certified cost",
        help="Mean over samples of the cost that no input within the budget exceeds.",
        null=UNBOUND,
    ),
    _ratio(
        "certified_slowdown_mean",
        title="slowdown at most",
        help="Mean of certified cost over the same sample's clean cost: no attack of this budget reaches more.",
        better="low",
        null=UNBOUND,
    ),
    _ratio(
        "certified_slowdown_p95",
        title="slowdown at most, p95",
        help="95th percentile of the certified slowdown.",
        better="low",
        null=UNBOUND,
    ),
    _ratio(
        "certified_slowdown_max",
        title="slowdown at most, max",
        help="Largest certified slowdown of a sample.",
        better="low",
        null=UNBOUND,
    ),
    _ratio(
        "certified_gap",
        title="at most over found",
        help="Mean certified cost over mean cost: 1 where the attack reaches the bound.",
        better="low",
        null=UNBOUND,
    ),
    _key(
        "certified_by",
        dimension="object",
        title="certified by",
        help="For how many samples each bound was the tightest.",
        null=UNBOUND,
        dtype=dict,
    ),
)
"""What bounds tell of a row; ``certified_reason`` is why they do not."""
UNCERTIFIED = {**dict.fromkeys(each.name for each in CERTIFIED), "certified_reason": UNBOUND}
"""The same of a row of an audit without bounds."""

ROW: tuple[Measure, ...] = (
    _key("target", dimension="identity", title="target", help="Name of the target.", dtype=str, null="an older audit"),
    _key("attack", dimension="identity", title="attack", help="Name of the attack, `clean` for none.", dtype=str),
    _key("defense", dimension="identity", title="defense", help="Name of the defense, `none` without one.", dtype=str),
    _key(
        "tampering",
        dimension="identity",
        title="tampering",
        help="What was done to the model or its training data, `none` without.",
        dtype=str,
    ),
    _key(
        "attacker",
        dimension="identity",
        title="attacker",
        help="`non-adaptive`: crafted without the defense and sent as it is; `adaptive`: crafted through it.",
        null="no defense or no attack",
        dtype=str,
    ),
    _key("norm", dimension="identity", title="norm", help="Norm of the budget.", null="no budget", dtype=str),
    _key(
        "eps",
        dimension="identity",
        title="eps",
        help="Radius, share of the area, number of edits.",
        null="no budget",
    ),
    _key(
        "eps_spent",
        dimension="distance",
        title="eps that can be spent",
        help="What of `eps` an input can spend, which has whole levels and pixels.",
        null="no budget",
    ),
    _key("kind", dimension="text", title="kind", help="`clean`, `attack` or `control`.", dtype=str),
    _words("behavior", title="behavior", help="D1, D2 or D3 of the 2025 study.", null="an older audit"),
    _words("stage", title="stage", help="Stage of the threat model.", null="the clean row"),
    _words("access", title="access", help="Access of the threat model.", null="the clean row"),
    _key(
        "tags",
        dimension="object",
        title="taxonomy",
        help="Identifiers of the row by taxonomy: `owasp`, `atlas`, `cwe`.",
        null="an older audit",
        dtype=dict,
    ),
    _count("n", title="n", help="How many samples."),
    _cost("cost_mean", title="mean cost", help="Mean cost of the inputs."),
    _cost("cost_clean_mean", title="mean clean cost", help="Mean cost of the same samples without attack and defense."),
    _cost("cost_static", title="static bound", help="The largest static bound of a sample."),
    _ratio("slowdown_mean", title="slowdown", help="Mean of cost over the same sample's clean cost.", better="low"),
    _ratio("slowdown_p50", title="slowdown p50", help="Median of the slowdown.", better="low"),
    _ratio("slowdown_p95", title="slowdown p95", help="95th percentile of the slowdown.", better="low"),
    _ratio("slowdown_p99", title="slowdown p99", help="99th percentile of the slowdown.", better="low"),
    _ratio("slowdown_max", title="slowdown max", help="Largest slowdown of a sample.", better="low"),
    _key(
        "slowdown_ci95",
        dimension="object",
        title="95 % CI",
        help="95 % bootstrap interval of the mean slowdown.",
        null="one sample has no interval",
        dtype=list,
    ),
    _ratio(
        "headroom_mean",
        title="headroom",
        help="Mean of (cost - clean) / (static - clean) over the samples that had headroom.",
        better="low",
        null="no sample had headroom: the clean cost equals the static bound",
    ),
    *CERTIFIED,
    _words("certified_reason", title="certified: why not", help="Why nothing is certified.", null="something is"),
    _ratio("utility", title="utility", help="Mean utility.", better="high", null="the data have no references"),
    _ratio("agreement", title="agreement", help="Share of outputs that say the same as the clean one.", better="high"),
    _key("linf_max", dimension="distance", title="Linf max", help="Largest Linf distance.", null=_DENSE),
    _key("l2_mean", dimension="distance", title="L2 mean", help="Mean L2 distance.", null=_DENSE),
    _key("l1_mean", dimension="distance", title="L1 mean", help="Mean L1 distance.", null=_DENSE),
    _key("edits_mean", dimension="count", title="edits", help="Mean number of edits.", null=_TEXTS),
    _ratio("similarity_mean", title="similarity", help="Mean similarity of texts over characters.", null=_TEXTS),
    _count("forwards", title="forward passes", help="Forward passes of the attack over all samples."),
    _count("backwards", title="backward passes", help="Backward passes of the attack over all samples."),
    _ratio(
        "changed_rate",
        title="changed",
        help="Share of clean inputs whose output a defense changes or rejects.",
        better="low",
        null=_CLEAN_ROW,
    ),
    _ratio(
        "changed_cost_ratio",
        title="cost of the changed",
        help="Mean undefended cost of the clean inputs whose output changed over that of all.",
        null="no clean output changed",
    ),
    _ratio(
        "utility_loss_mean",
        title="utility lost",
        help="Mean utility that clean inputs lose by the defense.",
        better="low",
        null=_CLEAN_ROW,
    ),
    _ratio(
        "utility_loss_max",
        title="most utility lost",
        help="The most utility that a clean input loses by the defense.",
        better="low",
        null=_CLEAN_ROW,
    ),
    _count("hurt", title="hurt", help="Clean inputs that lose utility by the defense.", better="low", null=_CLEAN_ROW),
    _ratio(
        "rejected_rate",
        title="rejected",
        help="Share of inputs that the defense rejected.",
        null="this defense rejects no input",
    ),
    _count("cut_n", title="cut", help="Inputs that are longer than the target reads.", null="inputs have no length"),
    _ratio("success_rate", title="success", help="Share of samples that meet the success criterion.", better="low"),
    _words("success_criterion", title="success criterion", help="What counts as success.", null="an older audit"),
    _words("utility_name", title="utility", help="What utility measures.", null="an older audit"),
    _key("attack_seconds", dimension="time", title="attack time", help="Seconds that the attack took."),
    _ratio(
        "no_headroom_rate",
        title="no headroom",
        help="Share of samples whose clean input is at the static bound or the cap, or is rejected.",
    ),
    _key(
        "found_through",
        dimension="object",
        title="found through",
        help="How many inputs of an undefended row were crafted through which defense.",
        null="none was",
        dtype=dict,
    ),
    _key("flags", dimension="object", title="flags", help="Reliability flags.", dtype=list),
    _count("fit_forwards", title="fit: forward passes", help="Spent on fitting.", null="nothing is fitted"),
    _count("fit_backwards", title="fit: backward passes", help="Spent on fitting.", null="nothing is fitted"),
    _key("fit_seconds", dimension="time", title="fit: time", help="Seconds of fitting.", null="nothing is fitted"),
    _key("latency_s_p50", dimension="time", title="latency", help="Median seconds at batch 1.", null=ELSEWHERE),
    _key(
        "latency_ci95",
        dimension="object",
        title="95 % CI",
        help="95 % bootstrap interval of the median latency.",
        null=ELSEWHERE,
        dtype=list,
    ),
    _ratio(
        "latency_slowdown",
        title="latency slowdown",
        help="Median of attacked over clean seconds.",
        better="low",
        null="no paired wall-clock run",
    ),
    _key(
        "latency_valid",
        dimension="flag",
        title="valid",
        help="Whether the clock was quiet enough to believe it.",
        null=ELSEWHERE,
        dtype=bool,
    ),
    _count("latency_n", title="timed", help="Samples that were timed.", null=ELSEWHERE),
    _key(
        "latency_modeled_s",
        dimension="time",
        title="modeled latency",
        help="Mean seconds by counts and calibrated seconds per unit, see `clock`.",
        better="low",
        null="no valid calibration of every unit",
    ),
    _key("energy_j", dimension="energy", title="energy", help="Joules per input.", better="low", null=ELSEWHERE),
    _key("memory_bytes", dimension="memory", title="memory", help="Largest peak.", better="low", null=ELSEWHERE),
    _words("latency_reason", title="latency: why not", help="Why there is no valid latency.", null="there is one"),
    _words("energy_reason", title="energy: why not", help="Why there is no energy.", null="there is one"),
    _words("memory_reason", title="memory: why not", help="Why there is no memory.", null="there is one"),
)
"""In the order of the keys; ``torpor.targets.Family.measures`` of level ``"row"`` come on top."""
