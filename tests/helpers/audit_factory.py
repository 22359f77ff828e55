"""Write small synthetic audits in the format of docs/audit-format.md."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from torpor.audits.schema import seal
from torpor.metrics.efficacy import CLASS, EXITS

TAGS = {"owasp": ["LLM06:2026"], "atlas": ["AML.T0029"], "cwe": ["CWE-400"]}
SLOWDOWNS: Mapping[str, Sequence[float]] = {"deepsloth": (1.0, 1.2, 1.4, 2.0), "noise-search": (1.0, 1.0, 1.1, 1.1)}
EPS = 8 / 255

_STATIC = 4e6


def write_audit(
    folder: Path,
    slowdowns: Mapping[str, Sequence[float]] = SLOWDOWNS,
    *,
    target: str = "toy",
    edits: Mapping[str, Mapping[str, Any]] | None = None,
    no_headroom: Collection[int] = (),
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write an audit of one clean row, one control, and one row per attack of ``slowdowns``.

    Clean samples cost one MFLOP, at most 4; those in ``no_headroom`` cost the static bound from the start. ``edits``
    overrides keys of the summary row of an attack, after it was computed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n = len(next(iter(slowdowns.values())))
    tables, summary = [], []
    for attack, kind in [("clean", "clean"), *((name, "attack") for name in slowdowns), ("control-noise", "control")]:
        values = np.asarray(slowdowns.get(attack, [1.0] * n), dtype=np.float64)
        columns = _records(attack, values, no_headroom)
        tables.append(pa.table(columns, schema=_SCHEMA))
        summary.append({**_summary(target, attack, kind, columns), **(edits or {}).get(attack, {})})
    pq.write_table(pa.concat_tables(tables), folder / "records.parquet")
    audit = {
        "schema": "torpor.audit/2",
        "config": {"target": target, "split": "test", "limit": n, **(config or {})},
        "command": f"torpor audit {target}",
        "target": {"name": target, "family": "early-exit", "behavior": "D1", "static_cost": _STATIC},
        "currency": "flops",
        "measures": [measure.to_json() for measure in (CLASS, *EXITS)],
        "units": {},
        "environment": {"torpor": "0.1.0"},
        "natural": None,
        "summary": summary,
    }
    audit["samples"] = {"limit": n, "read": n, "batches": 1}
    (folder / "audit.json").write_text(json.dumps(seal(audit, folder / "records.parquet")))
    return folder


_SCHEMA = pa.schema(
    [
        ("sample", pa.int64()),
        *((name, pa.string()) for name in ("attack", "defense", "attacker", "norm")),
        *((name, pa.float64()) for name in ("eps", "cost_clean", "cost", "cost_static", "slowdown", "headroom")),
        ("work", pa.list_(pa.int64())),
        ("exit", pa.int64()),
        ("agreement", pa.bool_()),
    ]
)


def _records(attack: str, slowdowns: np.ndarray[Any, Any], no_headroom: Collection[int]) -> dict[str, list[Any]]:
    n, clean = len(slowdowns), 1e6
    static = [clean if sample in no_headroom else _STATIC for sample in range(n)]
    return {
        "sample": list(range(n)),
        "attack": [attack] * n,
        "defense": ["none"] * n,
        "attacker": [None] * n,
        "norm": [None if attack == "clean" else "Linf"] * n,
        "eps": [None if attack == "clean" else EPS] * n,
        "cost_clean": [clean] * n,
        "cost": [clean * slowdown for slowdown in slowdowns],
        "cost_static": static,
        "slowdown": list(slowdowns),
        "headroom": [
            None if most == clean else (clean * slowdown - clean) / (most - clean)
            for slowdown, most in zip(slowdowns, static, strict=True)
        ],
        "work": [[1, 0]] * n,
        "exit": [int(slowdown > 1.3) for slowdown in slowdowns],
        "agreement": [bool(slowdown < 1.5) for slowdown in slowdowns],
    }


def _summary(target: str, attack: str, kind: str, columns: Mapping[str, list[Any]]) -> dict[str, Any]:
    slowdowns = np.asarray(columns["slowdown"], dtype=np.float64)
    headroom = [value for value in columns["headroom"] if value is not None]
    return {
        "target": target,
        "attack": attack,
        "defense": "none",
        "norm": columns["norm"][0],
        "eps": columns["eps"][0],
        "n": len(slowdowns),
        "kind": kind,
        "tags": TAGS if kind == "attack" else {},
        "cost_mean": float(np.mean(columns["cost"])),
        "cost_clean_mean": float(np.mean(columns["cost_clean"])),
        "cost_static": _STATIC,
        "slowdown_mean": float(slowdowns.mean()),
        "slowdown_p95": float(np.quantile(slowdowns, 0.95)),
        "slowdown_max": float(slowdowns.max()),
        "slowdown_ci95": [float(slowdowns.min()), float(slowdowns.max())],
        "headroom_mean": float(np.mean(headroom)) if headroom else None,
        "efficacy_step": 0.5,
        "utility": 0.9,
        "latency_s_p50": 0.008,
        "latency_slowdown": 1.3,
        "latency_valid": True,
        "latency_reason": None,
        "energy_j": None,
        "energy_reason": "no energy meter on this device",
        "flags": [],
    }
