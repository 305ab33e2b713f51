"""Talks to a MongoDB server: OP_MSG commands over one socket, with as much BSON as replica sets and our tests need."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from datetime import datetime
from typing import Any, Dict, Optional, Tuple

from .settings import Address
from .wire import read_exactly

OP_MSG = 2013
LONGEST = 48 << 20

NOT_YET_INITIALIZED = 94  # the server's own code for "no replica set yet"


class NotMongodb(Exception):
    """Something accepts connections there and does not answer as MongoDB does."""


class CommandFailed(Exception):
    def __init__(self, answer: Dict[str, Any]):
        super().__init__(answer.get("errmsg", "the command failed"))
        self.code = answer.get("code")


def command(
    address: Address, document: Dict[str, Any], timeout: float, tls: Optional[ssl.SSLContext] = None
) -> Dict[str, Any]:
    """The server's answer. Raises OSError where nothing answers in time, NotMongodb where something else does."""
    deadline = time.monotonic() + timeout
    with _connect(address, timeout, tls) as conn:
        body = struct.pack("<IB", 0, 0) + encode({**document, "$db": document.get("$db", "admin")})
        conn.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, OP_MSG) + body)
        size, _, _, opcode = struct.unpack("<iiii", read_exactly(conn, deadline, 16, NotMongodb()))
        if opcode != OP_MSG or not 26 <= size <= LONGEST:
            raise NotMongodb()
        try:
            answer, _ = decode(read_exactly(conn, deadline, size - 16, NotMongodb()), 5)
        except (struct.error, IndexError, ValueError) as error:
            raise NotMongodb() from error
    if answer.get("ok") != 1:
        raise CommandFailed(answer)
    return answer


def _connect(address: Address, timeout: float, tls: Optional[ssl.SSLContext]) -> socket.socket:
    conn = socket.create_connection(address, timeout)
    try:
        return tls.wrap_socket(conn, server_hostname=address[0]) if tls else conn
    except OSError:
        conn.close()
        raise


def probe_tls(certificate_file: Optional[str]) -> ssl.SSLContext:
    """For `hello` only: it carries no secret, so the server's certificate is the driver's business, not the probe's."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate_file:
        context.load_cert_chain(certificate_file)
    return context


def encode(document: Dict[str, Any]) -> bytes:
    body = b"".join(_element(key, value) for key, value in document.items())
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _element(key: str, value: Any) -> bytes:
    name = key.encode() + b"\0"
    if isinstance(value, bool):
        return b"\x08" + name + struct.pack("<?", value)
    if isinstance(value, int):
        return b"\x12" + name + struct.pack("<q", value)
    if isinstance(value, float):
        return b"\x01" + name + struct.pack("<d", value)
    if isinstance(value, str):
        text = value.encode() + b"\0"
        return b"\x02" + name + struct.pack("<i", len(text)) + text
    if isinstance(value, dict):
        return b"\x03" + name + encode(value)
    if isinstance(value, list):
        return b"\x04" + name + encode({str(index): item for index, item in enumerate(value)})
    if isinstance(value, datetime):
        return b"\x09" + name + struct.pack("<q", round(value.timestamp() * 1000))
    if isinstance(value, bytes):
        if len(value) != 12:
            raise TypeError("the only bytes here are object ids")
        return b"\x07" + name + value
    raise TypeError(f"no BSON here for {type(value).__name__}")


def decode(data: bytes, at: int = 0) -> Tuple[Dict[str, Any], int]:
    """The document that starts at `at`, and where it ends. Object ids and other bytes stay bytes."""
    (size,) = struct.unpack_from("<i", data, at)
    end, at = at + size, at + 4
    if end > len(data):
        raise ValueError("the document is cut short")
    found: Dict[str, Any] = {}
    while data[at]:
        kind = data[at]
        stop = data.index(b"\0", at + 1)
        key, at = data[at + 1 : stop].decode(), stop + 1
        found[key], at = _value(kind, data, at)
    return found, end


def _value(kind: int, data: bytes, at: int) -> Tuple[Any, int]:
    fixed = {0x01: "<d", 0x08: "<?", 0x09: "<q", 0x10: "<i", 0x11: "<Q", 0x12: "<q"}
    if kind in fixed:
        return struct.unpack_from(fixed[kind], data, at)[0], at + struct.calcsize(fixed[kind])
    if kind in (0x03, 0x04):
        inner, at = decode(data, at)
        return (inner if kind == 0x03 else list(inner.values())), at
    if kind == 0x02:
        (size,) = struct.unpack_from("<i", data, at)
        return data[at + 4 : at + 3 + size].decode(), at + 4 + size
    if kind == 0x05:
        (size,) = struct.unpack_from("<i", data, at)
        return data[at + 5 : at + 5 + size], at + 5 + size
    if kind == 0x07:
        return data[at : at + 12], at + 12
    if kind == 0x0A:
        return None, at
    raise ValueError(f"unexpected BSON type {kind:#x}")
