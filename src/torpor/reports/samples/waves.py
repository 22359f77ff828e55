"""Sounds as images: the envelope of a wave as an SVG data URI."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

WIDTH, HEIGHT = 480, 110
"""Size of a drawing, in its own units."""


def wave_uri(wave: np.ndarray, peak: int, color: str) -> str:
    """Draw the lowest and highest values of each stretch of a wave ``[T]``.

    Args:
        wave: 16-bit samples, or differences of them.
        peak: value that reaches the edge.
        color: of the envelope.

    >>> import numpy as np
    >>> wave_uri(np.zeros(9, np.int16), 1, "#000")[:26]
    'data:image/svg+xml;base64,'
    """
    import numpy as np

    starts = np.unique(np.linspace(0, len(wave), WIDTH, endpoint=False).astype(int))
    scale = (HEIGHT / 2 - 2) / max(1, peak)
    low, high = (HEIGHT / 2 - scale * part.reduceat(wave.astype(float), starts) for part in (np.minimum, np.maximum))
    x = (starts + 0.5) * WIDTH / len(wave)
    points = [*zip(x, high, strict=True), *zip(x[::-1], low[::-1], strict=True)]
    outline = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
        f'<path d="M0 {HEIGHT / 2}H{WIDTH}" stroke="#d1d5db"/>'
        f'<polygon points="{outline}" fill="{color}" stroke="{color}" stroke-width="0.8"/></svg>'
    )
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def wave_views(clean: np.ndarray, attacked: np.ndarray) -> tuple[tuple[str, str], ...]:
    """Return (name, data URI) of the clean wave, the attacked one, and their difference.

    Both waves are on one scale; the difference is amplified by a whole factor, up to half the height.

    >>> import numpy as np
    >>> [name for name, _ in wave_views(np.array([0, 900], np.int16), np.array([0, 914], np.int16))]
    ['clean', 'attacked', 'difference x32']
    """
    import numpy as np

    peak = int(max(np.abs(wave.astype(np.int64)).max(initial=1) for wave in (clean, attacked)))
    delta = attacked.astype(np.int64) - clean.astype(np.int64)
    factor = max(1, peak // 2 // max(1, int(np.abs(delta).max(initial=0))))
    return (
        ("clean", wave_uri(clean, peak, "#4b5563")),
        ("attacked", wave_uri(attacked, peak, "#0072b2")),
        (f"difference x{factor}", wave_uri(factor * delta, peak, "#d55e00")),
    )
