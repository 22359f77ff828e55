"""What a codec remembers of texts stays small, however many it is asked about."""

from __future__ import annotations

import tracemalloc

from torpor.targets.decoder.generation.codec import KNOWN, Remembered

LENGTH = 16


def test_what_is_remembered_of_short_texts_is_bounded() -> None:
    remembered = Remembered[str, tuple[int, ...]](lambda text: tuple(text.encode()), len)
    most = KNOWN // LENGTH
    tracemalloc.start()
    for number in range(most):
        remembered(f"{number:0{LENGTH}}")
    full = tracemalloc.get_traced_memory()[0]
    for number in range(most, 2 * most):
        remembered(f"{number:0{LENGTH}}")
    later = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert later < 1.25 * full  # a dictionary makes room for what comes before it forgets
    assert full < 32 * 2**20
