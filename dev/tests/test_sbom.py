"""Tests of `dev/sbom`: which crates are parts of the binary, what is said of each, and how files came about."""

import hashlib
import json
import unittest
from unittest import mock

from fakes import ROOT, InFolder

from sbom_lib import cli, parts, statement

CRATES = "registry+https://crates.invalid/index"


def package(name, version, licence="MIT"):
    return {"id": f"{name} {version}", "name": name, "version": version, "license": licence, "source": CRATES}


def edge(name, *kinds):
    return {"pkg": name, "dep_kinds": [{"kind": kind} for kind in kinds or (None,)]}


METADATA = {
    "packages": [
        package("firesteel", "0.1.0", "Apache-2.0"), package("rdkafka-sys", "4.10.0+2.12.1"), package("cc", "1.0.0", "MIT/Apache-2.0"),
        package("insta", "1.0.0"), package("other", "1.0.0"), package("zstd-sys", "2.0.16+zstd.1.5.7"),
    ],
    "resolve": {
        "nodes": [
            {"id": "firesteel 0.1.0", "deps": [edge("rdkafka-sys 4.10.0+2.12.1"), edge("insta 1.0.0", "dev"), edge("cc 1.0.0", "dev", "build")]},
            {"id": "rdkafka-sys 4.10.0+2.12.1", "deps": [edge("cc 1.0.0", "build"), edge("zstd-sys 2.0.16+zstd.1.5.7")]},
            {"id": "cc 1.0.0", "deps": []}, {"id": "insta 1.0.0", "deps": [edge("other 1.0.0")]}, {"id": "other 1.0.0", "deps": []},
            {"id": "zstd-sys 2.0.16+zstd.1.5.7", "deps": []},
        ]
    },
}  # fmt: skip
LOCK = '[[package]]\nname = "cc"\nversion = "1.0.0"\nchecksum = "abc"\n\n[[package]]\nname = "firesteel"\nversion = "0.1.0"\n'


class TestParts(unittest.TestCase):
    def made(self):
        return parts.document(METADATA, LOCK, "2026-11-26T00:00:00Z", "c0ffee", [("libc6", "2.36-9")])

    def test_what_tests_need_is_no_part_and_what_a_crate_brings_along_is_one(self):
        found = {one["bom-ref"]: one for one in self.made()["components"]}
        self.assertEqual(set(found), {
            "pkg:cargo/cc@1.0.0", "pkg:cargo/rdkafka-sys@4.10.0%2B2.12.1", "pkg:generic/librdkafka@2.12.1",
            "pkg:cargo/zstd-sys@2.0.16%2Bzstd.1.5.7", "pkg:generic/zstd@1.5.7", "pkg:deb/debian/libc6@2.36-9",
        })  # fmt: skip
        self.assertEqual(found["pkg:cargo/cc@1.0.0"]["hashes"], [{"alg": "SHA-256", "content": "abc"}])
        self.assertEqual(found["pkg:cargo/cc@1.0.0"]["licenses"], [{"expression": "MIT OR Apache-2.0"}])

    def test_who_depends_on_whom(self):
        edges = {one["ref"]: one["dependsOn"] for one in self.made()["dependencies"]}
        self.assertEqual(edges["pkg:cargo/firesteel@0.1.0"], ["pkg:cargo/cc@1.0.0", "pkg:cargo/rdkafka-sys@4.10.0%2B2.12.1"])
        self.assertIn("pkg:generic/librdkafka@2.12.1", edges["pkg:cargo/rdkafka-sys@4.10.0%2B2.12.1"])

    def test_the_same_tree_gives_the_same_document(self):
        self.assertEqual(json.dumps(self.made()), json.dumps(self.made()))
        other = parts.document(METADATA, LOCK, "2026-11-26T00:00:00Z", "decaf")
        self.assertNotEqual(self.made()["serialNumber"], other["serialNumber"])
        self.assertRegex(self.made()["serialNumber"], "^urn:uuid:[0-9a-f-]{36}$")


class TestStatement(InFolder):
    def test_a_file_is_named_by_its_sum_and_the_commit(self):
        binary = self.folder / "firesteel"
        binary.write_bytes(b"x")
        with mock.patch.object(cli, "run", return_value="rustc 1.95.0\n"):
            found = json.loads(cli.provenance([binary], {"features": "cuda"}))
        self.assertEqual(found["subject"], [{"name": "firesteel", "digest": {"sha256": hashlib.sha256(b"x").hexdigest()}}])
        built = found["predicate"]["buildDefinition"]
        self.assertEqual(built["externalParameters"]["compiler"], "rustc 1.95.0")
        self.assertEqual(built["externalParameters"]["features"], "cuda")
        lock = next(one for one in built["resolvedDependencies"] if one["uri"] == "Cargo.lock")
        self.assertEqual(lock["digest"]["sha256"], statement.sha256(ROOT / "Cargo.lock"))
        self.says("there is no", cli.provenance, [self.folder / "none"], {})


if __name__ == "__main__":
    unittest.main()
