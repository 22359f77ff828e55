"""Small synthetic audits of targets that iterate: texts, images or waves in, text out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from torpor.audits.run.rows import save_examples
from torpor.audits.run.store import records_table
from torpor.core.batches import Samples
from torpor.core.text import levenshtein, pack
from torpor.metrics.loops import LOOPS, loop_summary

SAMPLES, CAP, STEP, START = 24, 64, 1_000_000, 4_000_000
CLEAN = tuple(
    f"the {size} {beast} sat on the {thing}, and then it went home"
    for size in ("old", "small", "gray", "tired")
    for beast in ("cat", "dog", "goat")
    for thing in ("mat", "table")
)
OUTPUTS = tuple(f"{text} again" for text in CLEAN)
ATTACKED = {
    "nmtsloth-char": [text.replace("went", "wemt", 1).replace("sat", "sa t", 1) for text in CLEAN],
    "nmtsloth-token": [text.replace("mat", "matrix").replace(", and", "") + " bicycle" for text in CLEAN],
    "engorgio": ["ze\u202estless \u200bwander\n\nzebra umbra <script>alert(3)</script>" for _ in CLEAN],
}
BUDGETS = {
    "text": {"nmtsloth-char": ("chars", 3.0), "nmtsloth-token": ("tokens", 3.0), "engorgio": ("prompt", 32.0)},
    "image": {"nicg-slowdown": ("Linf", 8 / 255), "verbose-images": ("Linf", 8 / 255)},
    "wave": {"slothspeech": ("Linf", 0.01)},
}
CONTROLS = {
    "text": ("control-random-edits", "control-best-of-k", "control-keep-writing"),
    "image": ("control-noise", "control-flat", "control-shuffled", "control-best-noise"),
    "wave": ("control-noise", "control-flat", "control-shuffled", "control-best-noise"),
}
SHAPES = {"text": None, "image": [1, 32, 32], "wave": [4000]}


def step_row(inputs: str, attack: str, kind: str, steps: np.ndarray, clean: np.ndarray, **found: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a summary row; its loop keys are those of the audit's own code."""
    counts = {"steps": steps, "steps_clean": clean, "cap": np.full_like(steps, CAP)}
    counts |= {"capped": steps == CAP, "capped_clean": clean == CAP}
    cost, before, static = START + STEP * steps, START + STEP * clean, START + STEP * CAP
    slowdown, texts = cost / before, inputs == "text"
    return {
        "target": "toy-steps", "attack": attack, "defense": "none", "n": SAMPLES, "kind": kind, "behavior": "D2",
        "stage": "evasion", "access": "white" if kind == "attack" else "none",
        "tags": {"owasp": ["LLM06:2026"], "cwe": ["CWE-400"]} if kind == "attack" else {},
        "cost_mean": cost.mean(), "cost_clean_mean": before.mean(), "cost_static": static,
        "slowdown_mean": slowdown.mean(), "slowdown_max": slowdown.max(),
        **{f"slowdown_p{share}": np.quantile(slowdown, share / 100) for share in (50, 95, 99)},
        "slowdown_ci95": [slowdown.mean() - 0.1, slowdown.mean() + 0.1] if kind != "clean" else None,
        "headroom_mean": ((cost - before) / (static - before)).mean(),
        **loop_summary(counts, cap=CAP, context=None),
        "cap4": 4 * CAP, "cap4_n": 16, "cap4_hit_rate": 0.25,
        "cap4_i_loops_mean": 410 * (slowdown.mean() - 1),
        "bleu": 92.1 if kind == "clean" else 7.4, "chrf": 95.2 if kind == "clean" else 31.0, "bleu_reason": None,
        "utility_name": "chrF", "utility": 0.97 if kind == "clean" else 0.21,
        "agreement": 1.0 if kind == "clean" else 0.125,
        **dict.fromkeys(("linf_max", "l2_mean", "l1_mean"), None if texts else 0.01),
        "edits_mean": 2.5 if texts else None, "similarity_mean": 0.93 if texts else None,
        "latency_s_p50": 0.021, "latency_ci95": [0.02, 0.022], "latency_slowdown": slowdown.mean(),
        "latency_valid": True, "latency_reason": None, "energy_j": None,
        "energy_reason": "no energy meter on this device",
        "memory_bytes": None, "memory_reason": "no memory meter on this device",
        "attack_seconds": 12.5, "forwards": 12_000, "backwards": 100 if kind == "attack" else 0, "flags": [],
        **found,
    }  # fmt: skip


def step_records(row: dict[str, Any], steps: np.ndarray, clean: np.ndarray, inputs: str, attacked: list[str]) -> Any:  # noqa: ANN401
    """Return the records of a row, in the schema of the audit."""
    texts = inputs == "text"
    cost, before, static = (START + STEP * count for count in (steps, clean, np.full_like(clean, CAP)))
    nothing = [None] * SAMPLES
    edits = [levenshtein(*pair) for pair in zip(CLEAN, attacked, strict=True)]
    lengths = [max(map(len, pair)) for pair in zip(CLEAN, attacked, strict=True)]
    columns: dict[str, Any] = {
        "tampering": ["none"] * SAMPLES, "work_static": [[1, CAP]] * SAMPLES,
        "sample": range(SAMPLES),
        **{key: [row[key]] * SAMPLES for key in ("attack", "defense", "norm", "eps")},
        "reference_text": OUTPUTS,
        "cost_clean": before.astype(float), "cost_own": before.astype(float),
        "cost": cost.astype(float), "cost_static": static.astype(float),
        "slowdown": cost / before, "headroom": (cost - before) / (static - before),
        "work": [[1, int(count)] for count in steps],
        "steps_clean": clean, "steps": steps, "i_loops": 100 * (steps - clean) / clean,
        "cap": np.full_like(steps, CAP), "capped_clean": clean == CAP, "capped": steps == CAP, "output": OUTPUTS,
        "utility_clean": [0.97] * SAMPLES, "utility": [0.21] * SAMPLES, "agreement": steps == clean,
        **dict.fromkeys(("linf", "l2", "l1"), [None if texts else 0.01] * SAMPLES),
        "edits": edits if texts else nothing,
        "similarity": [1 - edit / size for edit, size in zip(edits, lengths, strict=True)] if texts else nothing,
        "forwards": [500] * SAMPLES, "backwards": [4] * SAMPLES,
    }  # fmt: skip
    return records_table(columns, SAMPLES, LOOPS)


def examples_of(inputs: str, attacked: list[str], eps: float) -> tuple[Samples, Samples]:
    """Return the first 8 inputs, clean and attacked, as an audit stores them."""
    if inputs == "text":
        return CLEAN[:8], tuple(attacked[:8])
    rng, shape = np.random.default_rng(1), SHAPES[inputs]
    assert shape is not None
    if inputs == "wave":
        time = np.arange(shape[0]) / 8000
        envelope = np.sin(np.pi * time / time[-1]) ** 2 * (0.4 + 0.6 * np.sin(2 * np.pi * 6 * time) ** 2)
        clean = 18_000 * envelope * np.sin(2 * np.pi * np.outer(np.arange(220, 300, 10), time))
        moved = clean + rng.choice([-1, 1], clean.shape) * eps * 32_768
        return torch.tensor(clean.astype(np.int16)), torch.tensor(moved.clip(-32_768, 32_767).astype(np.int16))
    clean = np.linspace(40, 210, 32) + rng.integers(-20, 20, (8, *shape))
    moved = clean + rng.choice([-1, 1], clean.shape) * round(255 * eps)
    return torch.tensor(clean.astype(np.uint8)), torch.tensor(moved.astype(np.uint8))


def make_step_audit(
    folder: Path,
    inputs: str = "text",
    *,
    changes: dict[str, Any] | None = None,
    attacked: dict[str, list[str]] | None = None,
    outputs: list[str] | None = None,
    packed: bool = False,
) -> Path:
    """Write the folder of an audit: clean, attacks, controls.

    Args:
        folder: to make.
        inputs: ``"text"``, ``"image"`` or ``"wave"``.
        changes: of every summary row.
        attacked: texts of each attack, in place of those above.
        outputs: of the attacked inputs, in place of repetitions.
        packed: texts of examples are bytes among the tensors, as older versions wrote them.
    """
    rng = np.random.default_rng(0)
    clean = rng.integers(6, 24, SAMPLES)
    (folder / "examples").mkdir(parents=True)
    rows = [
        (step_row(inputs, "clean", "clean", clean, clean, norm=None, eps=None, **(changes or {})), clean, list(CLEAN))
    ]
    budgets = BUDGETS[inputs]
    said = outputs or [("and the cat sat " * 40)[: 150 * (place + 1)] for place in range(8)]
    for place, (name, (norm, eps)) in enumerate(budgets.items()):
        steps = np.minimum(CAP, clean + rng.integers(0, 30 * (place + 1), SAMPLES))
        texts = {**ATTACKED, **(attacked or {})}.get(name, list(CLEAN))
        rows.append(
            (step_row(inputs, name, "attack", steps, clean, norm=norm, eps=eps, **(changes or {})), steps, texts)
        )
        before, after = examples_of(inputs, texts, eps)
        found: dict[str, Samples] = {"index": torch.arange(8), "clean": before, "attacked": after}
        found |= {"slowdown": torch.ones(8, dtype=torch.float64), "reference": OUTPUTS[:8]}
        found |= {"clean_steps": torch.tensor(clean[:8]), "attacked_steps": torch.tensor(steps[:8])}
        found |= {"clean_output": OUTPUTS[:8], "attacked_output": tuple(said)}
        if packed:
            found = {key: pack(each) if isinstance(each, tuple) else each for key, each in found.items()}
        save_examples(folder / "examples" / f"{name}-{norm}-{eps:.5g}.safetensors", found)
    norm, eps = next(iter(budgets.values()))
    for name in CONTROLS[inputs]:
        steps = np.minimum(CAP, clean + rng.integers(0, 4, SAMPLES))
        control = step_row(inputs, name, "control", steps, clean, norm=norm, eps=eps, **(changes or {}))
        rows.append((control, steps, list(CLEAN)))
    tables = [step_records(row, steps, clean, inputs, texts) for row, steps, texts in rows]
    with pq.ParquetWriter(folder / "records.parquet", tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    meters = {"latency": {"available": True, "reason": None}}
    audit = {
        "schema": "torpor.audit/2",
        "config": {"target": "toy-steps", "attacks": list(budgets), "seed": 0, "limit": SAMPLES},
        "command": f"torpor audit toy-steps --attacks {','.join(budgets)} --seed 0 --out run",
        "target": {
            "name": "toy-steps", "family": "decoder", "behavior": "D2", "mechanism": "decoding until an end token",
            "inputs": inputs,
            "input_shape": SHAPES[inputs], "utility_name": "chrF", "static_cost": START + STEP * CAP,
            "cap": CAP,
        },
        "currency": "flops",
        "measures": [measure.to_json() for measure in LOOPS],
        "units": {"none": [{"name": "encoder", "price": START, "stage": None},
                           {"name": "decoder_step", "price": STEP, "stage": None}]},
        "environment": {"torpor": "0.1.0", "python": "3.11", "torch": "2.6", "device": "cpu", "meters": meters},
        "natural": {"split": "validation", "n": 300, "cost_p999": 3.1e7, "slowdown_p999": 1.7},
        "summary": [row for row, _, _ in rows],
    }  # fmt: skip
    (folder / "audit.json").write_text(json.dumps(audit, default=float))
    return folder
