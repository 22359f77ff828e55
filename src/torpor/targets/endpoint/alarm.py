"""End a request that takes too long, wherever it is: in its headers, too, which a server may send a byte a minute."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

CONNECTED = ("connect_tcp.complete", "start_tls.complete")
"""Ends of the names of events after which there is a socket."""


class Alarm:
    """Hangs up when the time of one request is over.

    A read that waits returns then, as if the server had hung up. Reads have a time limit of their own, but each byte
    that comes begins it anew.

    Args:
        seconds: from now on.

    Attributes:
        rang: whether it did.
    """

    def __init__(self, seconds: float) -> None:
        self.rang = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.cancel()

    def trace(self, event: str, found: Mapping[str, Any]) -> None:
        """Take note of a connection; see the extension ``trace`` of the library that talks HTTP."""
        if event.endswith(CONNECTED):
            held = found["return_value"].get_extra_info("socket")
            if held is not None:
                with self._lock:
                    self._sockets.append(held)
            if self.rang:
                self._ring()

    def _ring(self) -> None:
        self.rang = True
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(each, socket.SHUT_RDWR)  # of TLS, too: the connection below it
