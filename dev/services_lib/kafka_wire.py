"""Asks a Kafka broker, in Kafka's own protocol, whether it serves: ApiVersions, then Metadata.

A broker accepts connections before it can do anything for a client, so an open port proves nothing. One that lists
itself in Metadata is registered and unfenced.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import List

from .settings import Address
from .wire import read_exactly

API_VERSIONS, METADATA = 18, 3
METADATA_VERSION = 4  # the last before flexible encoding that every broker since 0.11 speaks
LONGEST = 16 << 20


class NotKafka(Exception):
    """Something accepts connections there and does not answer as Kafka does."""


def ask(address: Address, timeout: float) -> List[Address]:
    """The addresses that the broker advertises; empty while it is still joining its own cluster.

    Raises OSError where nothing answers in `timeout` seconds, NotKafka where something else does.
    """
    deadline = time.monotonic() + timeout
    with socket.create_connection(address, timeout) as conn:
        body = _call(conn, deadline, API_VERSIONS, 0, b"")
        error, count = struct.unpack_from(">hi", body)
        if error or not 0 < count < 1000 or len(body) < 6 + 6 * count:
            raise NotKafka()
        apis = {key: (low, high) for key, low, high in struct.iter_unpack(">hhh", body[6 : 6 + 6 * count])}
        low, high = apis.get(METADATA, (0, -1))
        if not low <= METADATA_VERSION <= high:
            raise NotKafka()
        # No topics, and none to be created.
        return _brokers(_call(conn, deadline, METADATA, METADATA_VERSION, struct.pack(">i?", 0, False)))


def _call(conn: socket.socket, deadline: float, api: int, version: int, body: bytes) -> bytes:
    client = b"firesteel-dev"
    message = struct.pack(">hhih", api, version, 1, len(client)) + client + body
    conn.sendall(struct.pack(">i", len(message)) + message)
    (size,) = struct.unpack(">i", read_exactly(conn, deadline, 4, NotKafka()))
    if not 4 <= size <= LONGEST:
        raise NotKafka()
    answer = read_exactly(conn, deadline, size, NotKafka())
    if answer[:4] != b"\0\0\0\1":
        raise NotKafka()
    return answer[4:]


def _brokers(body: bytes) -> List[Address]:
    try:
        (count,) = struct.unpack_from(">i", body, 4)  # after the throttle time
        at, found = 8, []
        for _ in range(count):
            _, length = struct.unpack_from(">ih", body, at)
            host = body[at + 6 : at + 6 + length].decode()
            port, rack = struct.unpack_from(">ih", body, at + 6 + length)
            at += 12 + length + max(rack, 0)
            found.append((host, port))
        return found
    except (struct.error, UnicodeDecodeError) as error:
        raise NotKafka() from error
