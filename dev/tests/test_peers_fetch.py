"""Tests of `dev/peers`: what it pins, how an environment becomes whole, and what it says. No network."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import unittest
from unittest import mock

from fakes import InFolder, quiet

from peers_lib import cli
from peers_lib import peers as fetch

PIN = r"[a-z0-9-]+==[0-9][\w.]*(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n"
# Brings a package that says how it was asked for.
PIP = """
for a in "$@"; do case $last in --target) target=$a;; esac; last=$a; done
mkdir -p "$target/bin" && touch "$target/bin/script" "$target/bin/tpchgen-cli" && echo 'VALUE = 1' >"$target/peer_of_test.py"
printf '%s\\n' "$@" >"$target/asked"
"""


class TestPins(unittest.TestCase):
    def test_all_packages_are_pinned_by_hash(self):
        for peers in fetch.SETS.values():
            text = re.sub(r"(?m)^#.*\n", "", peers.requirements.read_text())
            self.assertEqual(re.sub(PIN, "", text), "", peers.name)
            names = re.findall(r"(?m)^([\w-]+)==", text)
            self.assertEqual(len(names), len(set(names)))
        for name in ("duckdb", "polars", "datafusion"):
            self.assertRegex(fetch.SETS["query"].requirements.read_text(), f"(?m)^{name}==")

    def test_of_cuda_only_its_runtime_comes(self):
        text = fetch.SETS["inference"].requirements.read_text()
        self.assertEqual(re.findall(r"(?m)^((?:nvidia|cuda|triton)[\w-]*)==", text), ["nvidia-cuda-runtime"])
        self.assertRegex(text, r"(?m)^torch==")


@unittest.skipUnless(fetch.PYTHONS[0] <= sys.version_info[:2] <= fetch.PYTHONS[1] and sys.platform == "linux", "not pinned for this")
class TestCommands(InFolder):
    def setUp(self):
        super().setUp()
        peers = fetch.Peers("query", "the peers", "FIRESTEEL_BENCH_PEERS_PYTHON", ("peer_of_test",), 1)
        for patch in (
            mock.patch.dict(fetch.SETS, {"query": peers}),
            mock.patch("shared_lib.fetch.importlib.util.find_spec", return_value=None),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        self.dev, self.peers = self.folder / "it's dev", peers
        os.environ["FIRESTEEL_DEV_DIR"] = str(self.dev)

    def run_peers(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with mock.patch("signal.signal"):
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = cli.main(list(arguments), "peers")
        return code, out.getvalue(), err.getvalue()

    def refused(self, pattern, *arguments):
        code, _, said = self.run_peers(*arguments)
        self.assertEqual(code, 1)
        self.assertRegex(said, rf"^error: {pattern}\n$")
        self.assertFalse(self.peers.is_there())
        self.assertEqual(list((self.dev / "peers").glob("*")), [])

    def test_it_is_fetched_once_and_whole(self):
        self.programs(pip3=PIP)
        code, out, said = self.run_peers("fetch", "query")
        self.assertEqual((code, said), (0, ""))
        self.assertIn(f"the peers are in {self.peers.home()}\n", out)
        python = self.peers.python()
        found = subprocess.run([python, "-c", "import peer_of_test; print(peer_of_test.__file__)"], capture_output=True, text=True)
        packages = next(self.peers.home().glob("lib/python3*/site-packages"))
        self.assertEqual(found.stdout, f"{packages / 'peer_of_test.py'}\n", found.stderr)
        asked = (packages / "asked").read_text().splitlines()
        for option in ("--require-hashes", "--no-deps", "--only-binary", str(self.peers.requirements)):
            self.assertIn(option, asked)
        there = {path.name for path in python.parent.iterdir() if "python" not in path.name}
        self.assertEqual(there, set(fetch.PROGRAMS))
        self.programs(pip3="exit 1")
        self.assertEqual(self.run_peers("fetch", "query")[0], 0)

    def test_env_is_quoted_for_a_shell(self):
        self.refused("the peers are not there: run `dev/peers fetch query` first", "env", "query")
        self.programs(pip3=PIP)
        self.run_peers("fetch", "query")
        code, out, _ = self.run_peers("env", "query")
        self.assertEqual(code, 0)
        words = shlex.split(out)
        self.assertEqual(words, ["export", f"FIRESTEEL_BENCH_PEERS_PYTHON={self.peers.python()}"])
        self.assertEqual(self.run_peers("env")[0], 1)  # both, and one is not there

    def test_no_network_no_pip_no_venv(self):
        self.programs(pip3="echo 'ERROR: no route to the registry' >&2; exit 1")
        self.refused(r"pip could not fetch the peers .*no route to the registry; the whole log is .*", "fetch", "query")
        with mock.patch.dict(sys.modules, {"venv": None}):
            self.refused(r"this Python has no module venv: install it \(Debian, Ubuntu: python3-venv\)", "fetch", "query")
        os.environ["PATH"] = str(self.folder)
        self.refused(r"the peers comes? through pip, and there is no pip: install it .*", "fetch", "query")

    def test_what_does_not_start_is_not_there(self):
        self.programs(pip3=PIP.replace("VALUE = 1", "import gone"))
        self.refused("the peers do not start on this system: .*ModuleNotFoundError: No module named 'gone'", "fetch", "query")

    def test_no_compiler(self):
        self.programs(pip3="exit 1")
        os.environ["PATH"] = str(self.folder / "bin")
        self.refused("PyTorch without CUDA needs a C compiler, and there is no cc: .*", "fetch", "inference")

    def test_python(self):
        with mock.patch.object(sys, "version_info", (3, 10, 1)):
            self.refused("what Firesteel is compared with runs on Python 3.11 to 3.14, and this is 3.10: .*", "fetch")

    def test_empty_libraries_stand_for_those_of_cuda(self):
        library = self.folder / "torch/lib"
        library.mkdir(parents=True)
        fetch.without_cuda("cc", self.folder)  # a build without CUDA needs none
        self.assertEqual(list(library.iterdir()), [])
        (library / "libtorch_cuda.so").touch()
        (library / "libnccl.so.2").write_text("a real one")
        self.programs(cc='for a in "$@"; do last=$a; done; cat >"$last"')
        with quiet():
            fetch.without_cuda("cc", self.folder)
        self.assertEqual({path.name for path in library.iterdir()}, {"libtorch_cuda.so", *fetch.CUDA})
        self.assertEqual((library / "libcudnn.so.9").read_text(), fetch.EMPTY)
        self.assertEqual((library / "libnccl.so.2").read_text(), "a real one")
        self.assertIn("RTLD_LAZY", (self.folder / "without_cuda.pth").read_text())
        self.programs(cc="echo 'ld: no space' >&2; exit 1")
        self.says("cc cannot make a shared library: ld: no space", fetch.without_cuda, "cc", self.folder)


if __name__ == "__main__":
    unittest.main()
