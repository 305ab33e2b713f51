"""What the tests of `dev/services` share: servers and programs that stand in for the real ones, and a folder each."""

import contextlib
import io
import os
import socket
import socketserver
import struct
import sys
import tempfile
import threading
import unittest
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "dev"))
JAVA = "echo 'openjdk version \"{}\" 2020' >&2"

from services_lib import cli, mongodb_wire  # noqa: E402
from services_lib.settings import Problem, Settings  # noqa: E402


@contextmanager
def listening(talk, port=0):
    """A server on the loopback (on a free port); `talk(connection)` for each connection. Gives the port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            talk(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def hang_up(_):
    """What a web server does with bytes that it does not understand, near enough."""


def silence(conn):
    """Reads whatever comes and never answers."""
    while conn.recv(4096):
        pass


def kafka(brokers):
    """Talks like a broker that lists `brokers`."""

    def talk(conn):
        while True:
            head = conn.recv(4, socket.MSG_WAITALL)
            if len(head) < 4:
                return
            request = conn.recv(struct.unpack(">i", head)[0], socket.MSG_WAITALL)
            api, version, correlation = struct.unpack_from(">hhi", request)
            if api == 18:
                body = struct.pack(">hi", 0, 2) + struct.pack(">hhh", 18, 0, 4) + struct.pack(">hhh", 3, 0, 13)
            else:
                assert (api, version) == (3, 4)
                body = struct.pack(">ii", 0, len(brokers))
                for node, (host, port) in enumerate(brokers):
                    body += struct.pack(">ih", node, len(host)) + host.encode() + struct.pack(">ih", port, -1)
                body += struct.pack(">hii", -1, 0, 0)
            body = struct.pack(">i", correlation) + body
            conn.sendall(struct.pack(">i", len(body)) + body)

    return talk


def mongodb(answer):
    """Talks like a MongoDB; `answer(command)` gives the document that it answers with."""

    def talk(conn):
        while True:
            head = conn.recv(16, socket.MSG_WAITALL)
            if len(head) < 16:
                return
            size, request, _, opcode = struct.unpack("<iiii", head)
            body = conn.recv(size - 16, socket.MSG_WAITALL)
            assert opcode == mongodb_wire.OP_MSG
            command, _ = mongodb_wire.decode(body, 5)
            reply = struct.pack("<IB", 0, 0) + mongodb_wire.encode(answer(command))
            conn.sendall(struct.pack("<iiii", 16 + len(reply), 7, request, mongodb_wire.OP_MSG) + reply)

    return talk


def primary(command):
    assert command["$db"] == "admin"
    if "hello" in command:
        return {"ok": 1.0, "setName": "rs0", "isWritablePrimary": True}
    return {"ok": 1.0, "version": "6.0.5"}


def standalone(command):
    return {"ok": 1.0, "isWritablePrimary": True, "version": "6.0.5"}


def program(folder, name, text):
    """An executable shell script."""
    path = Path(folder) / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    os.chmod(path, 0o755)
    return path


def quiet():
    return contextlib.redirect_stdout(io.StringIO())


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()

    def settings(self, **environ):
        return Settings.read({"FIRESTEEL_DEV_DIR": str(self.folder / "dev"), **environ}, ROOT)

    def programs(self, **scripts):
        """A PATH with these programs and the few that a shell script needs."""
        bin = self.folder / "bin"
        bin.mkdir(exist_ok=True)
        for name, text in scripts.items():
            program(bin, name, text)
        patch = mock.patch.dict(os.environ, {"PATH": f"{bin}:/usr/bin:/bin"})
        patch.start()
        self.addCleanup(patch.stop)
        os.environ.pop("JAVA_HOME", None)

    def says(self, text, run, *arguments):
        with self.assertRaisesRegex(Problem, text), quiet():
            run(*arguments)

    def run_cli(self, *arguments, **environ):
        """(exit code, output, errors) of a run of its own with no settings but these."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FIRESTEEL_")}
        clean.update({"FIRESTEEL_DEV_DIR": str(self.folder / "dev"), "FIRESTEEL_DEV_RUNTIME": "local", **environ})
        out, err = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, clean, clear=True), mock.patch.object(cli.signal, "signal"):
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = cli.main(list(arguments))
        return code, out.getvalue(), err.getvalue()
