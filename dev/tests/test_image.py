"""Tests of the Dockerfile and of what `dev/image` is made of. No network, no engine."""

import io
import json
import os
import re
import subprocess
import tarfile
import unittest
from pathlib import Path
from unittest import mock

from fakes import ROOT, InFolder

from image_lib import cli, debian, store
from shared_lib import program
from shared_lib.program import Problem, run

DOCKERFILE = (ROOT / "Dockerfile").read_text()


class TestDockerfile(unittest.TestCase):
    def instructions(self, name):
        text = DOCKERFILE.replace("\\\n", " ")
        return re.findall(rf"^{name} (.*)$", text, re.M)

    def test_images_are_arguments_with_a_tag_that_stays(self):
        arguments = dict(one.split("=", 1) for one in self.instructions("ARG") if "=" in one)
        for image in (arguments["RUST"], arguments["BASE"]):
            self.assertRegex(image, r"^[a-z0-9./-]+:[\w.-]+$")
            self.assertNotIn("latest", image)
        self.assertEqual(
            [one.split(" AS ")[0] for one in self.instructions("FROM")], ["${RUST}", "${RUST}", "${BASE}"]
        )

    def test_the_compiler_is_new_enough(self):
        image = re.search(r"rust:([\d.]+)-", DOCKERFILE)[1]
        oldest = re.search(r'rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text())[1]
        self.assertGreaterEqual(*([int(part) for part in found.split(".")] for found in (image, oldest)))

    def test_its_user_is_a_number_and_not_root(self):
        self.assertEqual(self.instructions("USER"), [f"{debian.USER}:{debian.USER}"])

    def test_it_is_linked_as_dev_image_links(self):
        flags = re.search(r'^ARG RUSTFLAGS="(.*)"$', DOCKERFILE, re.M)[1]
        self.assertEqual(flags.split(), cli.LINK)

    def test_its_labels(self):
        for label in ("title", "description", "licenses", "version", "revision", "base.name"):
            self.assertIn(f"org.opencontainers.image.{label}=", DOCKERFILE)
        self.assertIn(f"ARG VERSION={cli.version()}\n", DOCKERFILE)

    def test_it_copies_what_it_is_sent(self):
        sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
        for path in sent:
            self.assertTrue((ROOT / path).exists(), path)
        members = re.search(r"^members = \[(.*)\]$", (ROOT / "Cargo.toml").read_text(), re.M)[1]
        for needed in ["Cargo.toml", "Cargo.lock", "LICENSE", *re.findall(r'"(.*?)"', members)]:
            self.assertIn(needed, sent)


class TestSkeleton(InFolder):
    def skeleton(self, workspace, name):
        run(["sh", str(ROOT / "dev/image_lib/skeleton.sh"), str(workspace), str(self.folder / name)], "skeleton.sh")
        return {str(path.relative_to(self.folder / name)): path.read_text() for path in (self.folder / name).rglob("*") if path.is_file()}

    def workspace(self):
        work = self.folder / "work"
        for name, text in {
            "Cargo.toml": "[workspace]\nmembers = ['a', 'b']\n", "Cargo.lock": "locked", "README.md": "words",
            "a/Cargo.toml": '[package]\nname = "a"\n[[test]]\nname = "t"\npath = "tests/t/main.rs"\n',
            "a/src/lib.rs": "pub fn a() {}", "a/src/other.rs": "pub fn other() {}", "a/tests/t/main.rs": "fn main() {}",
            "a/build.rs": "fn main() { build() }", "b/Cargo.toml": '[package]\nname = "b"\n', "b/src/main.rs": "fn main() { b() }",
        }.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text)
        return work

    def test_it_has_the_manifests_and_no_source(self):
        found = self.skeleton(self.workspace(), "skeleton")
        self.assertEqual(
            sorted(found),
            ["Cargo.lock", "Cargo.toml", "a/Cargo.toml", "a/build.rs", "a/src/lib.rs", "a/tests/t/main.rs", "b/Cargo.toml", "b/src/main.rs"],
        )
        self.assertEqual({text for name, text in found.items() if name.endswith(".rs")}, {"pub fn main() {}\n"})
        self.assertEqual(found["Cargo.lock"], "locked")

    def test_a_change_of_a_source_changes_nothing(self):
        work = self.workspace()
        before = self.skeleton(work, "before")
        (work / "a/src/lib.rs").write_text("pub fn changed() {}")
        self.assertEqual(before, self.skeleton(work, "after"))
        times = {int(path.stat().st_mtime) for path in (self.folder / "after").rglob("*")}
        self.assertEqual(len(times), 1)

    def test_every_crate_of_this_workspace_is_in_it(self):
        found = self.skeleton(ROOT, "skeleton")
        listed = subprocess.run(["git", "ls-files", "*Cargo.toml"], cwd=ROOT, capture_output=True, text=True).stdout.split()
        self.assertLessEqual(set(listed), set(found))


class TestDebian(unittest.TestCase):
    def test_what_apt_lists(self):
        sum_ = "0" * 64
        found = debian.parse(
            f"'http://x/libc6_2.36-9%2bdeb12u14_amd64.deb' libc6_2.36-9+deb12u14_amd64.deb 2759320 SHA256:{sum_}\n"
            "'http://x/node' libnode_1%3a18.1_amd64.deb 1 MD5Sum:00\nReading package lists...\n"
        )
        self.assertEqual([(one.exact, one.sha256) for one in found],
                         [("libc6=2.36-9+deb12u14", sum_), ("libnode=1:18.1", "")])

    def test_what_stays(self):
        for path, stays in {
            "/usr/lib/x86_64-linux-gnu/libc.so.6": True, "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1": True,
            "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": True, "/usr/lib64/ld-linux-x86-64.so.2": True,
            "/usr/lib/x86_64-linux-gnu/libmvec.so.1": False, "/usr/lib/x86_64-linux-gnu/gconv/UTF-16.so": False,
            "/usr/bin/ldd": False, "/usr/share/doc/libc6/copyright": True, "/usr/share/doc/libc6/changelog.gz": False,
            "/usr/share/ca-certificates/mozilla/X.crt": True, "/etc/ld.so.conf": False,
        }.items():
            self.assertEqual(bool(debian.KEPT.search(path)), stays, path)


class TestImage(InFolder):
    def archive(self, *sizes):
        path = self.folder / "image.tar"
        with tarfile.open(path, "w") as tar:
            names = [f"{number}.tar" for number in range(len(sizes))]
            for name, data in [*zip(names, (b"x" * size for size in sizes)),
                               ("manifest.json", json.dumps([{"Layers": names}]).encode())]:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return path

    def test_its_size_is_that_of_its_layers(self):
        self.assertEqual(store.layers(self.archive(100, 23)), 123)

    def test_one_that_is_too_large_is_an_error(self):
        with mock.patch.object(cli, "LIMIT", 123), mock.patch.object(cli, "local", return_value=self.archive(100, 23)), \
                mock.patch.object(cli.verify, "by_buildah", return_value="x 1"), mock.patch.object(cli, "Store"), \
                mock.patch("builtins.print"):
            with self.assertRaisesRegex(Problem, "123 bytes, and at most 123"):
                cli.make(cli.parser().parse_args(["--local"]))

    def test_what_is_missing_is_one_sentence_and_nothing_is_installed(self):
        os.environ["CI"] = ""  # of this test alone: see InFolder
        with mock.patch.object(program.shutil, "which", return_value=None), mock.patch.object(program, "run") as ran:
            with self.assertRaisesRegex(Problem, r"needs buildah: run 'apt-get install --no-install-recommends buildah'"):
                program.require(["buildah"], ["buildah"], install=False)
        ran.assert_not_called()

    def test_limits_are_not_raised(self):
        with mock.patch.object(store.resource, "getrlimit", return_value=(100, 1000)):
            self.assertIn('"nofile=1000:1000", "nproc=1000:1000"', store.settings(Path("/x")))


if __name__ == "__main__":
    unittest.main()
