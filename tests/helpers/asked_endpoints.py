"""Endpoints of the fake server as targets, and what a test must not find in files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

from fake_server import FakeServer

from torpor.targets.endpoint.loading import load_endpoint
from torpor.targets.endpoint.target import EndpointTarget

PROMPTS = ("Count for 7 words.", "Please think for 60 words.", "Say something for 12 words, will you?")


def endpoint(server: FakeServer, **options: object) -> EndpointTarget:
    """Return the server as a target."""
    return load_endpoint(named(server, **options).removeprefix("openai:"))


def named(server: FakeServer, **options: object) -> str:
    """Return how the command line calls it."""
    return f"{server.address}#{urlencode({'model': 'fake', **options})}"


def write_texts(path: Path, texts: tuple[str, ...] = PROMPTS) -> Path:
    """Write prompts as lines of JSON."""
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return path


def sent(server: FakeServer) -> Counter[str]:
    """Return how often each request came to the server, by the key that tells one from another."""
    return Counter(headers["Idempotency-Key"] for path, _, headers in server.log if "completions" in path)
