"""The address of an OpenAI-compatible server, and the key that it is asked with."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from torpor.core.errors import UsageError

MARK = "openai:"
"""What a target's name begins with if it is such an address."""
KEYS = ("TORPOR_API_KEY", "OPENAI_API_KEY")
"""Environment variables with the key, the first that is set; no key is read from anywhere else, or written anywhere."""


@dataclass(frozen=True)
class Address:
    """Where a model answers.

    Attributes:
        url: of the API, such as ``"http://127.0.0.1:8000/v1"``, without a slash at its end.
        model: what the server calls the model.

    >>> Address.parse("openai:http://127.0.0.1:8000/v1/#model=small")
    Address(url='http://127.0.0.1:8000/v1', model='small')
    """

    url: str
    model: str

    @staticmethod
    def parse(name: str, model: str | None = None, known: Collection[str] = ()) -> Address:
        """Read ``openai:URL``, with the model after ``#model=`` unless it is given.

        Args:
            name: what the user typed.
            model: what the server calls the model, if the user said it elsewhere.
            known: names of what else may stand behind the mark ``#``; it is not read here.

        Raises:
            UsageError: if it is no address of a server, has a password in it, or names no model.
        """
        parts = urlsplit(name.removeprefix(MARK))
        try:
            sound = (
                parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            sound = False
        if not name.startswith(MARK) or not sound or parts.query:
            raise UsageError(f"expected {MARK}http://HOST:PORT/v1, got {_hidden(name)!r}; give the address of the API")
        if parts.username or parts.password:
            raise UsageError(f"expected an address without a user or password, got one; put the key in {KEYS[0]}")
        said = dict(parse_qsl(parts.fragment, keep_blank_values=True))
        if unknown := sorted(set(said) - {"model", *known}):
            wanted = f"{', '.join(sorted(known))} or model" if known else "model"
            raise UsageError(f"expected #{wanted}=VALUE after the address, got {unknown[0]!r}; leave it out")
        chosen = model or said.get("model")
        if not chosen:
            raise UsageError("expected the name of a model, got none; pass --model NAME")
        return Address(parts._replace(fragment="").geturl().rstrip("/"), chosen)

    @property
    def host(self) -> str:
        """Name or number of the machine."""
        return urlsplit(self.url).hostname or ""

    @property
    def is_remote(self) -> bool:
        """Whether it is another machine than this one, as far as its name tells.

        >>> Address("http://[::1]:80/v1", "m").is_remote, Address("https://api.example.com/v1", "m").is_remote
        (False, True)
        """
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True


def key_of_environment() -> str | None:
    """Return the key that the environment holds, None without one."""
    return next((os.environ[name] for name in KEYS if os.environ.get(name)), None)


def _hidden(name: str) -> str:
    """Return a name without what may be a password in it."""
    head, at, tail = name.rpartition("@")
    return f"...@{tail}" if at and head else name
