"""A small synthetic audit folder whose records, summary and examples agree with each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from torpor.metrics.efficacy import CLASS, EXITS

COSTS = (0.25, 0.6, 1.0)
STATIC = 4_000_000
SAMPLES = 40
EPS = (4 / 255, 8 / 255)


def _clean_exits(rng: np.random.Generator) -> np.ndarray:
    return rng.choice(3, SAMPLES, p=[0.6, 0.3, 0.1])


def _flops(exits: np.ndarray) -> np.ndarray:
    cost: np.ndarray = np.take(COSTS, exits) * STATIC
    return cost


def _rows(
    attack: str, kind: str, norm: str | None, eps: float | None, clean: np.ndarray, exits: np.ndarray
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    cost, clean_cost = _flops(exits), _flops(clean)
    slowdown, room = cost / clean_cost, STATIC - clean_cost
    headroom = np.where(room > 0, (cost - clean_cost) / np.where(room > 0, room, 1), np.nan)
    agreement = exits == clean
    summary = {
        "target": "toy",
        "attack": attack,
        "defense": "none",
        "norm": norm,
        "eps": eps,
        "n": SAMPLES,
        "kind": kind,
        "behavior": "D1",
        "stage": "evasion",
        "access": "white" if kind == "attack" else "none",
        "tags": {"owasp": ["LLM06:2026"], "atlas": ["AML.T0034"], "cwe": ["CWE-400"]} if kind == "attack" else {},
        "cost_mean": cost.mean(),
        "cost_clean_mean": clean_cost.mean(),
        "cost_static": STATIC,
        "slowdown_mean": slowdown.mean(),
        "slowdown_p50": np.quantile(slowdown, 0.5),
        "slowdown_p95": np.quantile(slowdown, 0.95),
        "slowdown_p99": np.quantile(slowdown, 0.99),
        "slowdown_max": slowdown.max(),
        "slowdown_ci95": [slowdown.mean() - 0.1, slowdown.mean() + 0.1] if kind != "clean" else None,
        "headroom_mean": float(np.nanmean(headroom)),
        "efficacy_eec": 1 - cost.mean() / STATIC + 0.1,
        "efficacy_step": 1 - cost.mean() / STATIC,
        "exit_histogram": np.bincount(exits, minlength=3).tolist(),
        "utility_name": "accuracy",
        "utility": 0.9 if kind == "clean" else 0.6,
        "agreement": float(agreement.mean()),
        "linf_max": eps if eps else 0.0,
        "l2_mean": 0.5 if eps else 0.0,
        "l1_mean": 5.0 if eps else 0.0,
        "latency_s_p50": 0.0021 if kind == "attack" else None,
        "latency_ci95": [0.002, 0.0022] if kind == "attack" else None,
        "latency_slowdown": slowdown.mean() if kind == "attack" else None,
        "latency_valid": True if kind == "attack" else None,
        "latency_reason": None if kind == "attack" else "only attacks are timed",
        "energy_j": None,
        "energy_reason": "no energy meter on this device",
        "memory_bytes": None,
        "memory_reason": "no memory meter on this device",
        "attack_seconds": 1.5,
        "forwards": 1200,
        "backwards": 1000 if kind == "attack" else 0,
        "flags": ["budget-unused"] if attack == "square" else [],
    }
    records = [
        {
            "sample": sample,
            "attack": attack,
            "defense": "none",
            "attacker": None,
            "norm": norm,
            "eps": eps,
            "reference": sample % 10,
            "cost_clean": float(clean_cost[sample]),
            "cost_own": float(clean_cost[sample]),
            "cost": float(cost[sample]),
            "cost_static": float(STATIC),
            "slowdown": float(slowdown[sample]),
            "headroom": None if np.isnan(headroom[sample]) else float(headroom[sample]),
            "work": [int(exits[sample] >= unit) for unit in range(3)],
            "exit": int(exits[sample]),
            "utility_clean": 1.0,
            "utility": float(agreement[sample]),
            "agreement": bool(agreement[sample]),
            "linf": eps or 0.0,
            "l2": 0.5 if eps else 0.0,
            "l1": 5.0 if eps else 0.0,
            "edits": None,
            "similarity": None,
            "forwards": 30,
            "backwards": 25,
        }
        for sample in range(SAMPLES)
    ]
    return summary, records


def _save_examples(path: Path, eps: float, rng: np.random.Generator) -> None:
    ramp = np.linspace(40, 210, 32)[None, None, None, :] + np.zeros((6, 1, 32, 1))
    clean = (ramp + rng.integers(-20, 20, ramp.shape)).astype(np.uint8)
    step = rng.choice([-1, 1], clean.shape) * round(eps * 255)
    attacked = np.clip(clean.astype(np.int64) + step, 0, 255).astype(np.uint8)
    index = np.arange(6, dtype=np.int64)
    save_file({"index": index, "clean": clean, "attacked": attacked, "reference": index % 10}, path)


def make_audit(folder: Path, *, eps: tuple[float, ...] = EPS, examples: bool = True, **changes: Any) -> Path:  # noqa: ANN401
    """Write an audit folder: clean, two attacks at each eps, three controls; ``changes`` replace keys of audit.json."""
    rng = np.random.default_rng(0)
    clean = _clean_exits(rng)
    (folder / "examples").mkdir(parents=True)
    parts = [_rows("clean", "clean", None, None, clean, clean)]
    for name, strength in (("deepsloth", 30), ("square", 12)):
        for radius in eps:
            moved = rng.random(SAMPLES) < min(0.95, strength * radius)
            parts.append(_rows(name, "attack", "Linf", radius, clean, np.where(moved, 2, clean)))
            if examples:
                _save_examples(folder / "examples" / f"{name}-Linf-{radius:.5g}.safetensors", radius, rng)
    for name, share in (("control-noise", 0.1), ("control-flat", 0.05), ("control-shuffled", 0.15)):
        moved = rng.random(SAMPLES) < share
        radius_of = max(eps) if name == "control-noise" else None
        exits = np.where(moved, np.minimum(clean + 1, 2), clean)
        parts.append(_rows(name, "control", "Linf" if radius_of else None, radius_of, clean, exits))
    pq.write_table(pa.Table.from_pylist([row for _, rows in parts for row in rows]), folder / "records.parquet")
    audit: dict[str, Any] = {
        "schema": "torpor.audit/2",
        "config": {"target": "toy", "attacks": ["deepsloth", "square"], "eps": list(eps), "seed": 0, "limit": SAMPLES},
        "command": "torpor audit toy --attacks deepsloth,square --norm Linf --eps 4/255,8/255 --seed 0 --out run",
        "target": {
            "name": "toy",
            "family": "early-exit",
            "behavior": "D1",
            "mechanism": "early exit",
            "rule": "confidence >= 0.9",
            "input_shape": [1, 32, 32],
            "classes": 10,
            "utility_name": "accuracy",
            "static_cost": STATIC,
            "exit_costs": list(COSTS),
        },
        "currency": "flops",
        "measures": [measure.to_json() for measure in (CLASS, *EXITS)],
        "units": {"none": [{"name": f"exit{i}", "price": 1_000_000, "stage": None} for i in range(3)]},
        "environment": {
            "torpor": "0.1.0",
            "python": "3.11",
            "torch": "2.6",
            "platform": "Linux",
            "processor": "x86_64",
            "threads": 2,
            "device": "cpu",
            "meters": {
                "latency": {"available": True, "reason": None},
                "energy": {"available": False, "reason": "no energy meter on this device"},
                "memory": {"available": False, "reason": "no memory meter on this device"},
            },
        },
        "natural": {
            "split": "validation",
            "n": 500,
            "cost_p999": 2_400_000.0,
            "slowdown_p999": 2_400_000.0 / _flops(clean).mean(),
        },
        "summary": [summary for summary, _ in parts],
    }
    (folder / "audit.json").write_text(json.dumps({**audit, **changes}))
    return folder
