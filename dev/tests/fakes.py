"""What the tests of `dev/services` share: servers and programs that stand in for the real ones, and a folder each."""

import contextlib
import io
import os
import socket
import socketserver
import sys
import tempfile
import threading
import unittest
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "dev"))
OUTSIDE = os.environ.get("FIRESTEEL_DEV_DIR")
JAVA = "echo 'openjdk version \"{}\" 2020' >&2"

from services_lib import cli, servers  # noqa: E402
from services_lib.settings import Settings  # noqa: E402
from shared_lib import program as shared  # noqa: E402
from shared_lib.program import Problem  # noqa: E402


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


@contextmanager
def drivers(kafka, mongodb):
    """In place of the drivers: `kafka` and `mongodb` say what servers at which ports answer, {port: brokers} and {port: hello}."""

    def connect(address, seconds, **options):
        client = mock.Mock()
        client.admin.command.return_value = mongodb[address[1]]
        return client

    with mock.patch.object(servers, "drivers"), mock.patch("services_lib.mongodb.connect", connect):
        with mock.patch("services_lib.kafka.brokers", lambda address, seconds: kafka[address[1]]):
            with mock.patch("services_lib.mongodb.version", return_value="6.0.5"):
                yield


PRIMARY = {"setName": "rs0", "isWritablePrimary": True}
STANDALONE = {"isWritablePrimary": True}


def program(folder, name, text):
    """An executable shell script."""
    path = Path(folder) / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    os.chmod(path, 0o755)
    return path


def required():
    """Whether nothing may be left out, as under `make test`."""
    return os.environ.get("FIRESTEEL_TEST_REQUIRE_SERVICES") == "1"


def left_out(why):
    """Ends a test that cannot run: loudly, and where everything has to run, as a failure."""
    if required():
        raise AssertionError(why)
    print(f"\nNOT TESTED: {why}", file=sys.stderr)
    raise unittest.SkipTest(why)


def need_drivers():
    try:
        servers.drivers()
    except Problem as problem:
        left_out(str(problem))


def quiet():
    return contextlib.redirect_stdout(io.StringIO())


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()
        self.dev = self.folder / "dev"
        patch = mock.patch.dict(os.environ, {"FIRESTEEL_DEV_DIR": str(self.dev)})
        patch.start()
        self.addCleanup(patch.stop)

    def use_what_is_there(self):
        """From here on in this test, .dev/ is the one outside, with what has been fetched."""
        os.environ.pop("FIRESTEEL_DEV_DIR")
        os.environ.update({"FIRESTEEL_DEV_DIR": OUTSIDE} if OUTSIDE else {})

    def settings(self, **environ):
        return Settings.read(environ)

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
        clean.update({"FIRESTEEL_DEV_DIR": str(self.dev), "FIRESTEEL_DEV_RUNTIME": "local", **environ})
        out, err = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, clean, clear=True), mock.patch.object(shared.signal, "signal"):
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = cli.main(list(arguments))
        return code, out.getvalue(), err.getvalue()
