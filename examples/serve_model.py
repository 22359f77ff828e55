"""Serve a small language model on loopback as OpenAI's API does: ``python examples/serve_model.py [--port 8000]``.

The model is the zoo's ``lm-multi30k``, which writes captions, greedily. Chat and completions, whole and streamed: an
answer ends at the model's own end, at ``max_tokens`` or at a stop string, a streamed one also when the client hangs up.
Options that it does not know are refused. It is for trying ``torpor audit`` and ``torpor conform`` at no cost, and not
for production.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

import torch

NAME, MOST, CHOICES, LONGEST = "lm-multi30k", 256, 4, 2**20
CHAT = "{} A man"
"""What the model reads of a conversation: it answers whatever is said with the rest of a caption."""
PATHS = {"/v1/chat/completions": True, "/v1/completions": False}
"""Where it is asked, and whether that is a conversation."""
KNOWN = ("model", "messages", "prompt", "max_tokens", "max_completion_tokens", "n", "stop", "stream", "stream_options")
"""Options that mean something; of any other, and of a temperature, only what is as good as none is taken."""


class RefusedError(Exception):
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
        raise RefusedError(f"expected {name} from 1 to {most}, got {value!r}")
    return value


@dataclass(frozen=True)
class Asked:
    """A request as it is understood.

    Attributes:
        chat: whether it is a conversation.
        tokens: of the prompt.
        most: tokens that each answer may have.
        choices: answers.
        stops: strings that end an answer, and are no part of it.
        streams: whether answers come in parts.
    """

    chat: bool
    tokens: list[int]
    most: int
    choices: int
    stops: tuple[str, ...]
    streams: bool

    @classmethod
    def read(cls, path: str, body: object, model: Model) -> Asked:
        """Read a request.

        Raises:
            RefusedError: if it asks for something else than what this server can do.
        """
        if path not in PATHS or not isinstance(body, Mapping):
            raise RefusedError(f"expected an object for one of {', '.join(PATHS)}")
        if unknown := [name for name, value in body.items() if value and name not in KNOWN]:
            raise RefusedError(f"expected a request without {unknown[0]}")
        tokens = model.read(prompt_of(body, chat=PATHS[path]))
        left = model.context - len(tokens)
        if left < 1:
            raise RefusedError(f"expected fewer than {model.context} tokens, got {len(tokens)}")
        caps = [whole(body, name, MOST, 10**9) for name in ("max_tokens", "max_completion_tokens")]
        stop = body.get("stop") or []
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(each, str) and each for each in stops):
            raise RefusedError(f"expected a string, or several, in stop, got {stop!r:.40}")
        return cls(
            PATHS[path], tokens, min(left, *caps), whole(body, "n", 1, CHOICES), tuple(stops), bool(body.get("stream"))
        )

    def part(self, index: int, text: str, finish: str | None = None) -> dict[str, Any]:
        """Return a part of a streamed answer."""
        held: dict[str, Any] = {"delta": {"content": text}} if self.chat else {"text": text}
        return {"index": index, **held, "finish_reason": finish}

    def choice(self, index: int, text: str, finish: str) -> dict[str, Any]:
        """Return a whole answer."""
        held: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        return {"index": index, **held, "finish_reason": finish}


def prompt_of(body: Mapping[str, Any], *, chat: bool) -> str:
    """Return what the model reads.

    Raises:
        RefusedError: if that is no text.
    """
    turns = body.get("messages") if chat else None
    last = turns[-1] if isinstance(turns, list) and turns and isinstance(turns[-1], Mapping) else {}
    text = last.get("content") if chat else body.get("prompt")
    if not isinstance(text, str):
        raise RefusedError(
            f"expected a text in {'the content of the last message' if chat else 'prompt'}, got {text!r:.40}"
        )
    return CHAT.format(text) if chat else text


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
                raise RefusedError(f"expected at most {LONGEST} bytes, got {length}")
            asked = Asked.read(self.path, json.loads(self.rfile.read(length)), self.model)
        except (RefusedError, ValueError, RecursionError) as wrong:
            self.send({"error": {"message": str(wrong), "type": "invalid_request_error"}}, 400)
        else:
            self.answer(asked)

    def answer(self, asked: Asked) -> None:
        """Write one or several answers, in parts or whole."""
        if asked.streams:
            self.begin("text/event-stream")
        answers = [self.one(index, asked) for index in range(asked.choices)]
        read, written = len(asked.tokens), sum(count for _, count, _ in answers)
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        if asked.streams:
            for index, (_, _, finish) in enumerate(answers):
                self.event({"choices": [asked.part(index, "", finish)]})
            self.event({"choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            told = [asked.choice(index, text, finish) for index, (text, _, finish) in enumerate(answers)]
            self.send({"model": NAME, "choices": told, "usage": usage})

    def one(self, index: int, asked: Asked) -> tuple[str, int, str]:
        """Return an answer, its tokens, and why it ended; send its parts meanwhile if it is streamed."""
        text, count = "", 0
        for piece in self.model.write(asked.tokens, asked.most):
            count, before, text = count + 1, text, text + piece
            found = min((text.find(stop) for stop in asked.stops if stop in text), default=-1)
            text = text if found < 0 else text[:found]
            if asked.streams:
                self.event({"choices": [asked.part(index, text[len(before) :])]})
            if found >= 0:
                return text, count, "stop"
        return text, count, "stop" if count < asked.most else "length"

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
