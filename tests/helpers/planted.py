"""Natural inputs among which expensive ones are planted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

TOY_TEXT, NEEDLE = "torpor.targets.decoder.toy_text:ToyText", "torpor.targets.early_exit.toys:needle"
WORDS = ("cat", "dog", "tree", "bird", "sun", "moon", "river", "stone")


def texts(number: int, planted: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """Return different texts of a few words, and the places of those of them that have many nines, costliest first."""
    rng = np.random.default_rng(seed)
    found = []
    for at in range(number):
        words, threes = " ".join(rng.choice(WORDS, rng.integers(2, 8))), "3" * int(rng.integers(0, 3))
        found.append(f"{words} {threes} n{str(at).translate(LETTERS)}")
    places = sorted(rng.choice(number, planted, replace=False).tolist())
    for rank, place in enumerate(places):
        found[place] = f"{found[place]} {'9' * (8 + planted - rank)}"
    return found, places


LETTERS = str.maketrans("0123456789", "abcdefghij")
"""Digits as letters, which tell texts apart and cost nothing."""


def write_chats(path: Path, found: list[str]) -> Path:
    """Write texts as bodies of chat requests, a line each."""
    bodies = ({"model": "m", "messages": [{"role": "user", "content": text}]} for text in found)
    path.write_text("".join(f"{json.dumps(body)}\n" for body in bodies), encoding="utf-8")
    return path


def write_pngs(folder: Path, number: int, planted: int, seed: int = 0) -> list[str]:
    """Write dark images of 4 x 4 gray pixels, and return the names of those of them that are gray, which the needle toy
    takes to its last exit."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    gray = set(rng.choice(number, planted, replace=False).tolist())
    for at in range(number):
        level = 128 if at in gray else int(rng.integers(5, 100))
        Image.fromarray(np.full((4, 4), level, dtype=np.uint8)).save(folder / f"{at:04}.png")
    return sorted(f"{at:04}.png" for at in gray)
