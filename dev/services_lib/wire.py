"""What both wire protocols need: whole messages out of a socket, before a deadline."""

from __future__ import annotations

import socket
import time


def read_exactly(conn: socket.socket, deadline: float, size: int, cut: Exception) -> bytes:
    """`size` bytes; raises `cut` where the peer closes before that, and a time-out at the deadline."""
    parts = b""
    while len(parts) < size:
        conn.settimeout(max(deadline - time.monotonic(), 0.001))
        part = conn.recv(size - len(parts))
        if not part:
            raise cut
        parts += part
    return parts
