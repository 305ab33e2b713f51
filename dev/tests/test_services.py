"""Tests of `dev/services`: its settings, its protocols, its decisions, and what its commands say.

No network, no real server: `fakes` stands in for them.
"""

import contextlib
import json
import os
import re
import stat
import subprocess
import sys
import unittest
from pathlib import Path
from unittest import mock

import fakes
from fakes import ROOT, InFolder

from services_lib import cli, compose, kafka, mongodb, secured, servers
from services_lib.daemon import Running
from services_lib.kafka import Kafka
from services_lib.mongodb import Mongodb
from services_lib.servers import Silent
from services_lib.settings import Settings, bootstrap_addresses, show
from shared_lib.program import Problem, dev_dir, redact


class TestSettings(InFolder):
    def test_defaults(self):
        found = Settings.read({})
        self.assertEqual((found.kafka_port, found.controller_port, found.mongodb_port), (9092, 9093, 27017))
        del os.environ["FIRESTEEL_DEV_DIR"]
        self.assertEqual(dev_dir(), ROOT / ".dev")

    def test_what_is_wrong_is_named(self):
        for environ, text in (
            ({"FIRESTEEL_DEV_KAFKA_PROT": "1"}, "nearest one is FIRESTEEL_DEV_KAFKA_PORT"),
            ({"FIRESTEEL_DEV_KAFKA_PORT": "0"}, "FIRESTEEL_DEV_KAFKA_PORT is '0'"),
            ({"FIRESTEEL_DEV_KAFKA_PORT": "65535"}, "set FIRESTEEL_DEV_KAFKA_CONTROLLER_PORT"),
            ({"FIRESTEEL_DEV_MONGODB_PORT": "9093"}, "CONTROLLER_PORT and FIRESTEEL_DEV_MONGODB_PORT are both 9093"),
            ({"FIRESTEEL_DEV_RUNTIME": "podman"}, "auto, docker, local"),
            ({"FIRESTEEL_KAFKA_BOOTSTRAP": "http://host"}, "FIRESTEEL_KAFKA_BOOTSTRAP does not hold host:port"),
            ({"FIRESTEEL_KAFKA_BOOTSTRAP": "host:70000"}, "FIRESTEEL_KAFKA_BOOTSTRAP"),
            ({"FIRESTEEL_MONGODB_URI": "host:27017"}, "begins with mongodb://"),
        ):
            with self.subTest(environ):
                self.says(text, Settings.read, environ)

    def test_addresses(self):
        self.assertEqual(bootstrap_addresses("a, b:1,[::1]:2"), [("a", 9092), ("b", 1), ("::1", 2)])
        self.assertEqual(show([("a", 9092), ("::1", 2)]), "a:9092, [::1]:2")

    def test_redact(self):
        for text, wanted in (
            ("at mongodb://me:pw@h/?a=b now", "at mongodb://***@h/?a=b now"),
            ("https://me:p@ss@h/x", "https://***@h/x"),
            ("mongodb://h/?tlsCertificateKeyFilePassword=pw&a=b", "mongodb://h/?tlsCertificateKeyFilePassword=***&a=b"),
            ("authMechanismProperties=AWS_SESSION_TOKEN:pw", "authMechanismProperties=AWS_SESSION_TOKEN:***"),
            ("nothing here", "nothing here"),
        ):
            self.assertEqual(redact(text), wanted)


class TestDrivers(InFolder):
    """With the real drivers, and no server."""

    def setUp(self):
        super().setUp()
        self.use_what_is_there()
        fakes.need_drivers()

    def test_connection_strings(self):
        for uri, addresses, tls in (
            ("mongodb://h", [("h", 27017)], None),
            ("mongodb://u:p%40@h:1,i/db?replicaSet=x", [("h", 1), ("i", 27017)], None),
            ("mongodb://h/?authSource=a&tls=true", [("h", 27017)], True),
        ):
            with self.subTest(uri):
                self.assertEqual(Mongodb(self.settings(FIRESTEEL_MONGODB_URI=uri)).addresses(), addresses)
                self.assertEqual(mongodb.parsed(uri)["options"].get("tls"), tls)

    def test_no_piece_of_a_password_is_taken_for_a_host(self):
        for uri in ("mongodb://me:p@ss/w0rd@h:1/db", "mongodb://me:pass/w0rd@h", "mongodb://me:pa:ss@h"):
            with self.subTest(uri), self.assertRaises(Problem) as caught:
                mongodb.parsed(uri)
            self.assertNotIn("w0rd", str(caught.exception))
            self.assertNotIn("ss@", str(caught.exception))

    def test_something_else_and_something_that_never_answers(self):
        for talk in (fakes.hang_up, lambda conn: conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), fakes.silence):
            for server in (Kafka(self.settings()), Mongodb(self.settings())):
                with fakes.listening(talk) as port, self.subTest(server=server.name), self.assertRaises(Silent):
                    server.ask([("127.0.0.1", port)], 0.5)

    def test_nobody(self):
        for server in (Kafka(self.settings()), Mongodb(self.settings())):
            self.assertIsNone(server.ask([("127.0.0.1", fakes.free_port())], 5))
            self.assertFalse(server.__class__(self.settings(**{server.port_setting: str(fakes.free_port())})).ready())

    def test_the_replica_set_is_initiated_and_follows_a_change_of_port(self):
        from pymongo.errors import OperationFailure

        config = {"_id": "rs0", "version": 3, "members": [{"_id": 0, "host": "127.0.0.1:1"}]}
        for first, wanted in (
            (OperationFailure("no replset config", mongodb.NOT_YET_INITIALIZED), "replSetInitiate"),
            ({"config": config}, "replSetReconfig"),
        ):
            admin = mock.Mock()
            admin.command.side_effect = [first, {}]
            mongodb.join(admin, "127.0.0.1:17017")
            name, sent = admin.command.call_args[0]
            self.assertEqual((name, sent["members"][0]["host"]), (wanted, "127.0.0.1:17017"))
        self.assertEqual(sent["version"], 4)


class TestAnswers(InFolder):
    def test_kafka_that_is_starting_or_advertises_nonsense(self):
        broker = Kafka(self.settings())
        with fakes.listening(fakes.silence) as port, fakes.drivers({port: []}, {}):
            self.assertIn("still starting", broker.ask([("127.0.0.1", port)], 5).warnings[0])
        with fakes.listening(fakes.silence) as port, fakes.drivers({port: [("127.0.0.1", fakes.free_port())]}, {}):
            self.assertIn("advertised.listeners", broker.ask([("127.0.0.1", port)], 5).warnings[0])
        with fakes.listening(fakes.silence) as port, fakes.drivers({port: [("127.0.0.1", port)]}, {}):
            self.assertEqual(broker.ask([("127.0.0.1", port)], 5).warnings, [])

    def test_mongodb(self):
        with fakes.listening(fakes.silence) as port, fakes.drivers({}, {port: fakes.PRIMARY}):
            answer = Mongodb(self.settings()).ask([("127.0.0.1", fakes.free_port()), ("127.0.0.1", port)], 5)
        self.assertEqual((answer.address[1], answer.version, answer.warnings), (port, "6.0.5", []))

    def test_mongodb_that_is_no_replica_set_or_has_no_primary(self):
        here = ("127.0.0.1", 1)
        self.assertIn("not a replica set", mongodb.warnings(here, {"isWritablePrimary": True})[0])
        self.assertIn("no primary", mongodb.warnings(here, {"setName": "rs0", "isWritablePrimary": False})[0])
        self.assertEqual(mongodb.warnings(here, {"msg": "isdbgrid"}), [])


class TestDecision(InFolder):
    def test_one_of_ours_is_taken_and_its_port_has_to_be_the_one_that_is_wanted(self):
        server = Kafka(self.settings())
        with mock.patch.object(server.daemon, "running", return_value=Running(7, 9092)):
            self.assertEqual(server.look(), Running(7, 9092))
        with mock.patch.object(server.daemon, "running", return_value=Running(7, 1)):
            self.says("on port 1, and FIRESTEEL_DEV_KAFKA_PORT asks for 9092", server.look)

    def test_what_is_another_s_is_a_problem_and_what_is_free_is_nothing(self):
        with fakes.listening(fakes.hang_up) as port, mock.patch.object(servers, "drivers"):
            with mock.patch.object(kafka, "brokers", side_effect=TimeoutError("no answer")):
                owner = rf"\(\S+, pid {os.getpid()}\)" if sys.platform == "linux" else ""
                taken = Kafka(self.settings(FIRESTEEL_DEV_KAFKA_PORT=str(port)))
                self.says(rf"{port} is taken by something.*{owner} that does not answer as Kafka", taken.look)
        self.assertIsNone(Kafka(self.settings(FIRESTEEL_DEV_KAFKA_PORT=str(port))).look())

    def test_other_platforms(self):
        for system, machine in (("Linux", "x86_64"), ("Linux", "aarch64")):
            with mock.patch.multiple(servers.platform, system=lambda it=system: it, machine=lambda it=machine: it):
                servers.check_platform()
        for system, machine in (("Linux", "riscv64"), ("Linux", "armv7l"), ("Darwin", "arm64")):
            with mock.patch.multiple(servers.platform, system=lambda it=system: it, machine=lambda it=machine: it):
                self.says(f"on x86-64 and 64-bit ARM, and this is {system} {machine}: start Docker", servers.check_platform)

    def test_mongod_is_pinned_for_both_processors(self):
        self.assertEqual(mongodb.REQUIREMENTS.read_text().count("--hash=sha256:"), 2)


class TestCommands(InFolder):
    def both(self, hello=fakes.PRIMARY):
        ports = self.enter(fakes.listening(fakes.silence)), self.enter(fakes.listening(fakes.silence))
        self.enter(fakes.drivers({ports[0]: [("127.0.0.1", ports[0])]}, {ports[1]: hello}))
        return str(ports[0]), str(ports[1])

    def test_servers_that_are_there_are_used(self):
        kafka_port, mongodb_port = self.both(fakes.STANDALONE)
        ports = {"FIRESTEEL_DEV_KAFKA_PORT": kafka_port, "FIRESTEEL_DEV_MONGODB_PORT": mongodb_port}
        code, out, err = self.run_cli("up", **ports)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("not a replica set", out)
        record = self.folder / "dev/services.env"
        self.assertEqual(
            record.read_text(),
            f"FIRESTEEL_KAFKA_BOOTSTRAP=127.0.0.1:{kafka_port}\nFIRESTEEL_MONGODB_URI=mongodb://127.0.0.1:{mongodb_port}\n",
        )
        self.assertEqual(stat.S_IMODE(record.stat().st_mode), 0o600)
        self.assertEqual(
            self.run_cli("env")[1], "".join(f"export {line}\n" for line in record.read_text().splitlines())
        )
        code, out, _ = self.run_cli("status", **ports)
        self.assertEqual(code, 0)
        self.assertIn("version 6.0.5, not started here", out)
        self.assertEqual(self.run_cli("down", **ports)[0], 0)
        self.assertFalse(record.exists())

    def test_a_password_is_kept_but_not_shown(self):
        kafka_port, mongodb_port = self.both()
        uri = f"mongodb://me:it's%40@127.0.0.1:{mongodb_port}/?a=b&c=d"
        named = {"FIRESTEEL_KAFKA_BOOTSTRAP": f"127.0.0.1:{kafka_port}", "FIRESTEEL_MONGODB_URI": uri}
        self.enter(mock.patch.object(mongodb, "parsed", return_value={"nodelist": [("127.0.0.1", int(mongodb_port))], "options": {}}))
        shown = "".join(
            sum(([out, err] for _, out, err in (self.run_cli("up", **named), self.run_cli("status", **named))), [])
        )
        self.assertIn("services up", shown)
        code, out, _ = self.run_cli("env", **named)
        self.assertNotIn("it's", shown + out)
        read = subprocess.run(["sh", "-c", out + "env"], env={}, capture_output=True, text=True).stdout
        self.assertIn(f"FIRESTEEL_MONGODB_URI={uri}\n", read)

    def test_failures_are_one_sentence(self):
        dead = str(fakes.free_port())
        taken = str(self.enter(fakes.listening(fakes.hang_up)))
        self.enter(fakes.drivers({}, {}))
        for arguments, environ, text in (
            (["up"], {"FIRESTEEL_KAFKA_BOOTSTRAP": f"127.0.0.1:{dead}"},
             f"no Kafka at 127.0.0.1:{dead}, which FIRESTEEL_KAFKA_BOOTSTRAP names: the connection is refused"),
            (["up"], {"FIRESTEEL_KAFKA_BOOTSTRAP": f"127.0.0.1:{taken}"}, "does not answer as Kafka"),
            (["up"], {"FIRESTEEL_DEV_KAFKA_PORT": taken}, f"port {taken} is taken"),
            (["up"], {"FIRESTEEL_DEV_KAFKA_PORT": dead, "FIRESTEEL_DEV_MONGODB_PORT": taken}, "as MongoDB: free it"),
            (["up"], {"FIRESTEEL_DEV_MONGODB_PORT": "x"}, "is not a port"),
            (["env"], {}, "run `dev/services up` first"),
        ):  # fmt: skip
            with self.subTest(text):
                code, _, err = self.run_cli(*arguments, **environ)
                self.assertEqual(code, 1)
                self.assertRegex(err, rf"^error: .*{re.escape(text)}.*\n$")
        self.assertFalse((self.folder / "dev/services.env").exists())

    def test_docker_is_used_where_it_answers(self):
        kafka_port, mongodb_port = fakes.free_port(), self.enter(fakes.listening(fakes.silence))
        self.enter(fakes.drivers({kafka_port: [("127.0.0.1", kafka_port)]}, {mongodb_port: fakes.PRIMARY}))
        broker = fakes.listening(fakes.silence, kafka_port)
        ports = {"FIRESTEEL_DEV_KAFKA_PORT": str(kafka_port), "FIRESTEEL_DEV_MONGODB_PORT": str(mongodb_port)}
        with mock.patch.object(compose, "why_not", return_value=""):
            with mock.patch.object(compose, "up") as up:
                code, _, err = self.run_cli("up", **ports)
            self.assertEqual((code, up.call_args[0][1]), (1, ["kafka"]))
            self.assertIn("Docker Compose says that Kafka is up, and it does not answer", err)
            with mock.patch.object(compose, "up", side_effect=lambda *_: self.enter(broker)):
                self.assertEqual(self.run_cli("up", **ports)[0], 0)

    def test_a_controller_port_that_is_taken(self):
        self.programs(java=fakes.JAVA.format("17"))
        taken = self.enter(fakes.listening(fakes.hang_up))
        settings = self.settings(FIRESTEEL_DEV_KAFKA_CONTROLLER_PORT=str(taken))
        with mock.patch.object(kafka, "fetched", return_value=self.folder):
            self.says("FIRESTEEL_DEV_KAFKA_CONTROLLER_PORT", Kafka(settings).prepare)

    def test_status_of_nothing(self):
        ports = {
            "FIRESTEEL_DEV_KAFKA_PORT": str(fakes.free_port()),
            "FIRESTEEL_DEV_MONGODB_PORT": str(fakes.free_port()),
        }
        code, out, _ = self.run_cli("status", **ports)
        self.assertEqual((code, out.count("is not running")), (3, 2))

    def test_the_second_kafka_needs_java_and_leaves_nothing_for_others_to_read(self):
        self.programs()
        os.environ["PATH"] = str(self.folder / "bin")
        code, _, err = self.run_cli("secured")
        self.assertEqual(code, 3)
        self.assertIn("needs java and mvn on the PATH", err)
        path = secured.private(self.folder / "x.properties", secured.client(self.folder, "me", "hunter2"))
        self.assertEqual(path.stat().st_mode & 0o077, 0)
        self.assertIn("sasl.password=hunter2\n", path.read_text())
        settings = secured.TEMPLATE.read_text()
        self.assertNotIn("PLAINTEXT", settings)
        for wanted in ("CLIENTS:SASL_SSL,NODES:SSL,CONTROLLER:SSL", "StandardAuthorizer", "allow.everyone.if.no.acl.found=false"):
            self.assertIn(wanted, settings)

    def test_paths_are_a_line_of_json_and_need_java(self):
        self.enter(mock.patch.object(kafka, "java_command", return_value=["java", "-cp", "jars"]))
        self.enter(mock.patch.object(mongodb, "fetched", return_value=Path("/somewhere/mongod")))
        self.enter(mock.patch.object(cli, "check_platform"))
        with mock.patch.object(cli, "lacks", return_value=[]):
            code, out, _ = self.run_cli("paths")
        told = json.loads(out.splitlines()[-1])
        self.assertEqual((code, told["kafka"], told["mongod"][0]), (0, ["java", "-cp", "jars"], "/somewhere/mongod"))
        self.assertIn("--noscripting", told["mongod"])
        with mock.patch.object(cli, "lacks", return_value=["java"]):
            code, _, err = self.run_cli("paths")
        self.assertEqual((code, err), (3, "own servers need java on the PATH\n"))

    def test_help_teaches(self):
        run = subprocess.run([sys.executable, ROOT / "dev/services", "--help"], capture_output=True, text=True)
        self.assertEqual(run.returncode, 0)
        for word in ("up", "down", "status", "env", "FIRESTEEL_DEV_DIR", "FIRESTEEL_KAFKA_BOOTSTRAP", "--wipe"):
            self.assertIn(word, run.stdout)

    def test_wipe_keeps_downloads(self):
        for name in ("data/kafka", "logs", "downloads/kafka-1"):
            (self.folder / "dev" / name).mkdir(parents=True)
        self.assertEqual(self.run_cli("down", "--wipe")[0], 0)
        self.assertEqual(sorted(path.name for path in (self.folder / "dev").iterdir()), ["downloads", "run"])

    def enter(self, context):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        return stack.enter_context(context)


if __name__ == "__main__":
    unittest.main()
