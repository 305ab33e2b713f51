"""Tests of `dev/spark`: what it pins, what it accepts, how it unpacks, and what it says. No network."""

import contextlib
import hashlib
import io
import os
import re
import shlex
import tarfile
import unittest
from unittest import mock

import fakes
from fakes import ROOT, InFolder, quiet

from peers_lib import cli
from peers_lib import spark as fetch
from peers_lib.spark import SPARK

JAR = "connector.jar"


class TestPins(unittest.TestCase):
    def test_the_package_is_pinned_by_hash(self):
        self.assertRegex(fetch.version(), r"^3\.5\.\d+$")
        for path in (fetch.REQUIREMENTS, fetch.BUILD):
            self.assertRegex(path.read_text(), r"(?m)^\w+==[\d.]+ \\\n    --hash=sha256:[0-9a-f]{64}$")

    def test_the_jars_are_those_of_the_pom(self):
        versions = dict(re.findall(r"<(connector|driver)\.version>([\d.]+)<", fetch.POM.read_text()))
        wanted = {f"mongo-spark-connector_2.12-{versions['connector']}.jar"}
        names = ("bson", "bson-record-codec", "mongodb-driver-core", "mongodb-driver-sync")
        wanted |= {f"{name}-{versions['driver']}.jar" for name in names}
        self.assertEqual(set(fetch.sums()), wanted)


class TestUnpack(InFolder):
    def test_each_file_goes_where_spark_has_it(self):
        for name, place in (
            ("pyspark-3.5.3/deps/bin/spark-submit", "bin/spark-submit"),
            ("pyspark-3.5.3/deps/jars/x.jar", "jars/x.jar"),
            ("pyspark-3.5.3/lib/pyspark.zip", "python/lib/pyspark.zip"),
            ("pyspark-3.5.3/pyspark/sql/types.py", "python/pyspark/sql/types.py"),
            ("pyspark-3.5.3/deps/examples/sql/x.py", None),
            ("pyspark-3.5.3/setup.py", None),
            ("pyspark-3.5.3/lib/../../x", None),
            ("/etc/passwd", None),
        ):
            self.assertEqual(fetch.placed(name), place, name)

    def test_unpack(self):
        archive = self.folder / "pyspark-3.5.3.tar.gz"
        with tarfile.open(archive, "w:gz") as package:
            for name, mode in (("deps/bin/spark-submit", 0o755), ("deps/jars/x.jar", 0o644), ("deps/data/x", 0o644)):
                member = tarfile.TarInfo(f"pyspark-3.5.3/{name}")
                member.mode, member.size = mode, 3
                package.addfile(member, io.BytesIO(b"abc"))
            link = tarfile.TarInfo("pyspark-3.5.3/deps/bin/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            package.addfile(link)
        fetch.unpack(archive, self.folder / "home")
        found = sorted(str(path.relative_to(self.folder / "home")) for path in (self.folder / "home").rglob("*.*"))
        self.assertEqual(found, ["jars/x.jar"])
        self.assertEqual([path.name for path in (self.folder / "home/bin").iterdir()], ["spark-submit"])
        self.assertTrue(os.access(self.folder / "home/bin/spark-submit", os.X_OK))


class TestConnector(InFolder):
    def setUp(self):
        super().setUp()
        good = mock.patch.object(fetch, "sums", return_value={JAR: hashlib.sha256(b"good").hexdigest()})
        good.start()
        self.addCleanup(good.stop)
        (SPARK.home() / "bin").mkdir(parents=True)
        (SPARK.home() / "bin/spark-submit").touch()

    def maven(self, *jars):
        """A Maven that brings these jars, (name, text) each."""
        lines = "\n".join(f"printf %s {text} > \"${{a#*=}}/{name}\"" for name, text in jars)
        self.programs(mvn=f'for a in "$@"; do case $a in -DoutputDirectory=*)\n{lines};; esac; done')

    def test_it_is_fetched_once_and_whole(self):
        self.assertFalse(SPARK.is_there())
        for jars in ([(JAR, "bad")], [(JAR, "good"), ("more.jar", "good")], [("other.jar", "good")]):
            self.maven(*jars)
            self.says("Maven gave a damaged", SPARK.fetch)
            self.assertFalse(SPARK.connector().exists())
        self.maven((JAR, "good"))
        with quiet():
            SPARK.fetch()
        self.assertTrue(SPARK.is_there())
        self.programs(mvn="exit 1")
        SPARK.fetch()
        (SPARK.connector() / JAR).write_bytes(b"")  # a disk that failed, say
        self.assertFalse(SPARK.is_there())
        self.maven((JAR, "good"))
        with quiet():
            SPARK.fetch()
        self.assertTrue(SPARK.is_there())

    def test_no_network_and_no_maven(self):
        self.programs(mvn="echo '[ERROR] Connect to h failed'; exit 1")
        self.says(r"could not fetch the MongoDB connector .*Connect to h failed; the", SPARK.fetch)
        with mock.patch("shared_lib.fetch.shutil.which", return_value=None):
            self.says("no mvn on the PATH", SPARK.fetch)


class TestPackage(InFolder):
    def test_no_network(self):
        self.programs(pip3="echo 'ERROR: no route to the registry' >&2; exit 1")
        with mock.patch("shared_lib.fetch.importlib.util.find_spec", return_value=None):
            self.says("pip could not fetch Spark 3.5.*no route to the registry; the", SPARK.fetch)
        self.assertEqual(list((self.folder / "dev/spark").iterdir()), [])


class TestCommands(InFolder):
    def run_spark(self, *arguments, version=(3, 11)):
        out, err = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, {"FIRESTEEL_DEV_DIR": str(self.folder / "dev")}):
            with mock.patch("signal.signal"), mock.patch.object(cli.sys, "version_info", version):
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    code = cli.main(list(arguments), "spark")
        return code, out.getvalue(), err.getvalue()

    def test_java(self):
        self.programs(java=fakes.JAVA.format("21"))
        for command in ("fetch", "env"):
            code, _, said = self.run_spark(command)
            self.assertEqual(code, 1)
            self.assertRegex(said, r"^error: Spark 3.5 needs Java 8 to 17; .* \(it is Java 21\): .*\n$")
        os.environ["PATH"] = str(self.folder)
        self.assertRegex(self.run_spark("fetch")[2], r"^error: Spark 3.5 needs Java 8 to 17, and there is no java .*\n$")

    def test_python(self):
        self.programs(java=fakes.JAVA.format("1.8.0_1"))
        code, _, said = self.run_spark("fetch", version=(3, 99))
        self.assertEqual(code, 1)
        self.assertIn("PySpark 3.5 runs on Python 3.9 to 3.13, and this is 3.99", said)

    def test_env(self):
        self.programs(java=fakes.JAVA.format("17.0.1"))
        code, out, said = self.run_spark("env")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("run `dev/spark fetch` first", said)
        with mock.patch.object(fetch.Spark, "is_there", return_value=True):
            code, out, _ = self.run_spark("env")
        self.assertEqual(code, 0)
        values = dict(shlex.split(line)[1].split("=", 1) for line in out.splitlines())
        self.assertEqual(set(values), {"SPARK_HOME", "PYSPARK_PYTHON", "FIRESTEEL_BENCH_SPARK_JARS"})
        self.assertEqual(len(values["FIRESTEEL_BENCH_SPARK_JARS"].split(",")), len(fetch.sums()))

    def test_the_job_tells_the_names_that_env_prints(self):
        self.assertIn('"$SPARK_HOME/bin/spark-submit"', (ROOT / "benches/spark/mapreduce.py").read_text())
        self.assertIn("$FIRESTEEL_BENCH_SPARK_JARS", (ROOT / "benches/spark/mapreduce.py").read_text())


if __name__ == "__main__":
    unittest.main()
