"""A local server that answers like a language model, and bills tokens that a test can count by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


def answer(prompt: str, most: int) -> list[str]:
    """Return one token per word, and as many more as each digit says, up to the cap."""
    words = prompt.split()
    more = [digit for digit in prompt if digit in "0123456789" for _ in range(int(digit))]
    return [*words, *more][:most]


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tokens = answer(asked["prompt"], asked["max_tokens"])
        usage = {"prompt_tokens": len(asked["prompt"].split()), "completion_tokens": len(tokens)}
        body = json.dumps({"choices": [{"text": " ".join(tokens)}], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[str]:
    """Serve on a free port of this machine, and return the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
