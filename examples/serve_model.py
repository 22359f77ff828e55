"""Serve a small language model on loopback as OpenAI's API does: ``python examples/serve_model.py [--port 8000]``.

The model is the zoo's ``lm-multi30k``, which writes captions. Chat and completions, whole and streamed; answers end at
the model's own end, at ``max_tokens``, at a stop string, or when the client hangs up. What it does not know it refuses.
It is for trying ``torpor audit`` and ``torpor conform`` at no cost, not for production.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

import torch

NAME, MOST, CHOICES, LONGEST = "lm-multi30k", 256, 4, 2**20
CHAT = "{} A man"
"""What the model reads of a conversation: it answers whatever is said with the rest of a caption."""
REFUSED = ("best_of", "logprobs", "top_logprobs", "prompt_logprobs", "tools", "thinking", "reasoning_effort")


class Refused(Exception):  # noqa: N818 - what is wrong with a request
    """A request that is not answered, and why."""


class Model:
    """The model behind the server; one token at a time is computed, whoever asks."""

    def __init__(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = files("torpor.zoo") / "weights" / NAME
        self.model: Any = AutoModelForCausalLM.from_pretrained(str(folder))
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
        self.context, self.lock = int(self.model.config.max_position_embeddings), threading.Lock()
        self.ends = {int(self.model.config.eos_token_id)}

    def read(self, text: str) -> list[int]:
        """Return the tokens of a prompt."""
        return list(self.tokenizer(text).input_ids)

    def write(self, tokens: list[int], most: int) -> Iterator[str]:
        """Yield the text of each token of a greedy answer."""
        given, past, so_far, told = torch.tensor([tokens]), None, list[int](), ""
        for _ in range(most):
            with self.lock, torch.inference_mode():
                found = self.model(input_ids=given, past_key_values=past, use_cache=True)
            past, chosen = found.past_key_values, int(found.logits[0, -1].argmax())
            if chosen in self.ends:
                return
            so_far.append(chosen)
            text = self.tokenizer.decode(so_far)
            yield text[len(told) :]
            told, given = text, torch.tensor([[chosen]])


def whole(body: Mapping[str, Any], name: str, default: int, most: int) -> int:
    """Return a positive integer of a request."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise Refused(f"expected {name} from 1 to {most}, got {value!r}")
    return value


def part(index: int, text: str, *, chat: bool) -> dict[str, Any]:
    """Return a part of a streamed answer."""
    held: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
    return {"index": index, **held, "finish_reason": None}


class Handler(BaseHTTPRequestHandler):
    """Answers requests with one model."""

    model: Model

    def do_GET(self) -> None:
        """List the model."""
        self.send({"object": "list", "data": [{"id": NAME, "object": "model", "max_model_len": self.model.context}]})

    def do_POST(self) -> None:
        """Answer a request for text."""
        try:
            length = int(self.headers.get("Content-Length") or 0)
            if length > LONGEST:
                raise Refused(f"expected at most {LONGEST} bytes, got {length}")
            self.answer(json.loads(self.rfile.read(length)))
        except (Refused, ValueError, TypeError, KeyError, IndexError) as wrong:
            self.send({"error": {"message": str(wrong), "type": "invalid_request_error"}}, 400)

    def answer(self, body: Mapping[str, Any]) -> None:
        """Write one or several answers, in parts or whole."""
        if unknown := [name for name in REFUSED if body.get(name)]:
            raise Refused(f"expected a request without {unknown[0]}")
        chat = self.path.endswith("/chat/completions")
        tokens = self.model.read(CHAT.format(body["messages"][-1]["content"]) if chat else str(body["prompt"]))
        left = self.model.context - len(tokens)
        if left < 1:
            raise Refused(f"expected fewer than {self.model.context} tokens, got {len(tokens)}")
        caps = [whole(body, name, MOST, 10**9) for name in ("max_tokens", "max_completion_tokens")]
        choices, stop = whole(body, "n", 1, CHOICES), body.get("stop") or ()
        stops, streams = (stop,) if isinstance(stop, str) else tuple(stop), bool(body.get("stream"))
        if streams:
            self.begin("text/event-stream")
        told: list[dict[str, Any]] = []
        written = 0
        for index in range(choices):
            text, count = self.one(index, tokens, min(left, *caps), stops, in_parts=chat if streams else None)
            ended = "length" if count == min(left, *caps) else "stop"
            held: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            told.append({"index": index, **held, "finish_reason": ended})
            written += count
        usage = {"prompt_tokens": len(tokens), "completion_tokens": written, "total_tokens": len(tokens) + written}
        if not streams:
            self.send({"model": NAME, "choices": told, "usage": usage})
            return
        for each in told:
            self.event({"choices": [part(each["index"], "", chat=chat) | {"finish_reason": each["finish_reason"]}]})
        self.event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def one(
        self, index: int, tokens: list[int], most: int, stops: Sequence[str], *, in_parts: bool | None
    ) -> tuple[str, int]:
        """Return an answer and its tokens.

        Args:
            index: of the choice.
            tokens: of the prompt.
            most: tokens that it may have.
            stops: strings that end it, and are no part of it.
            in_parts: whether its parts are sent as those of a chat; None to send none.
        """
        text, count = "", 0
        for piece in self.model.write(tokens, most):
            count, before, text = count + 1, text, text + piece
            found = min((text.find(stop) for stop in stops if stop in text), default=len(text))
            text = text[:found]
            if in_parts is not None:
                self.event({"choices": [part(index, text[len(before) :], chat=in_parts)]})
            if found < len(before + piece):
                break
        return text, count

    def begin(self, kind: str, status: int = 200, length: int | None = None) -> None:
        """Send the headers."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def event(self, content: object) -> None:
        """Send a part of a streamed answer; a client that has left ends the answer."""
        self.wfile.write(f"data: {json.dumps(content)}\n\n".encode())

    def send(self, content: object, status: int = 200) -> None:
        """Send a whole answer."""
        raw = json.dumps(content).encode()
        self.begin("application/json", status, len(raw))
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A server that does not mind clients that leave."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: that is how an answer to a client that has left ends."""


def serve(port: int = 0) -> Server:
    """Return a server of the model on loopback, on a free port if ``port`` is 0; it still has to be run."""
    torch.set_num_threads(1)  # a token of so small a model is no work for two
    Handler.model = Model()
    return Server(("127.0.0.1", port), Handler)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one (default: 8000)")
    with serve(parser.parse_args().port) as server:
        print(f"openai:http://127.0.0.1:{server.server_port}/v1", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
