"""Servers that others wrote, in processes of their own, on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

START_S = 120.0


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@contextmanager
def running(words: Sequence[str], port: int, environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Run a server for the length of a ``with`` block, and yield how torpor calls it once it answers.

    Args:
        words: its command line.
        port: on which it listens.
        environment: on top of this process's.
        folder: where it runs, and writes what it says to ``server.log``.
    """
    log = folder / "server.log"
    with (
        log.open("wb") as said,
        subprocess.Popen(
            words, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, stdout=said, stderr=said
        ) as run,
    ):
        try:
            ends = time.monotonic() + START_S
            while not answers(port):
                assert run.poll() is None, f"the server ended: {log.read_text()[-2000:]}"
                assert time.monotonic() < ends, "the server does not start"
                time.sleep(0.2)
            yield f"openai:http://127.0.0.1:{port}/v1"
        finally:
            run.terminate()


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
