"""Virtual environments with what Firesteel is compared with, pinned by checksum, each in a folder of `.dev/peers`.

A folder is there only when it is whole: what is in it has been imported once. It is made beside its place and renamed, so
only its `bin/python` and what is named in PROGRAMS is to be used; the scripts that pip would write name the place where
they were made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

from services_lib.fetch import beside, digest, find_pip, run_client, size
from services_lib.process import say
from services_lib.settings import Problem

HERE = Path(__file__).resolve().parent
# What the requirements hold wheels for, on x86-64 and 64-bit ARM.
PYTHONS = ((3, 11), (3, 14))
# Programs that are no scripts.
PROGRAMS = ("tpchgen-cli",)
# What PyTorch's wheel for Linux names at its start and a CPU never calls: some 2.5 GB of packages.
CUDA = (
    *("libcublas.so.13", "libcublasLt.so.13", "libcudnn.so.9", "libcufft.so.12", "libcufile.so.0", "libcupti.so.13"),
    *("libcusparse.so.12", "libcusparseLt.so.0", "libnccl.so.2", "libnvrtc.so.13", "libnvshmem_host.so.3"),
)
# The only two symbols of theirs that are looked up before they are called.
EMPTY = "int nvshmem_selected_device_transport; void nvshmem_init(void) {}\n"


@dataclass(frozen=True)
class Peers:
    name: str
    title: str
    setting: str
    modules: Tuple[str, ...]
    megabytes: int

    @property
    def requirements(self) -> Path:
        return HERE / f"{self.name}.txt"


SETS = {
    peers.name: peers
    for peers in (
        Peers(
            "query",
            "DuckDB, Polars and DataFusion",
            "FIRESTEEL_BENCH_PEERS_PYTHON",
            ("duckdb", "polars", "datafusion"),
            170,
        ),
        Peers(
            "inference",
            "PyTorch and ONNX Runtime",
            "FIRESTEEL_BENCH_INFERENCE_PYTHON",
            ("torch", "onnxruntime.quantization", "onnxscript", "safetensors.torch", "pyarrow.parquet", "PIL.Image"),
            640,
        ),
    )
}


def home(dev_dir: Path, peers: Peers) -> Path:
    """The environment's folder, whether it is there or not."""
    version = "%d.%d" % sys.version_info[:2]
    return dev_dir / "peers" / f"{peers.name}-{version}-{digest(peers.requirements)}"


def python(dev_dir: Path, peers: Peers) -> Path:
    return home(dev_dir, peers) / "bin/python"


def is_there(dev_dir: Path, peers: Peers) -> bool:
    return python(dev_dir, peers).is_file()


def fetch(dev_dir: Path, peers: Peers) -> None:
    if is_there(dev_dir, peers):
        return
    if sys.platform != "linux":
        raise Problem(f"{peers.title} are pinned for Linux, and this is {sys.platform}")
    pip = find_pip(peers.title)
    compiler = _compiler() if peers.name == "inference" else ""
    log = dev_dir / f"logs/peers-{peers.name}-fetch.log"
    say("peers", f"fetching {peers.title} through pip ({peers.megabytes} MB, once)")
    with beside(home(dev_dir, peers)) as temporary:
        packages = _environment(temporary / "home")
        run_client(
            "peers",
            pip
            + ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--progress-bar", "off"]
            + ["--no-compile", "--root-user-action=ignore", "--only-binary", ":all:"]
            # The pip on the PATH may be that of another Python.
            + ["--python-version", "%d.%d" % sys.version_info[:2], "--implementation", "cp"]
            + ["--target", str(packages), "-r", str(peers.requirements)],
            log,
            lambda: f"{size(temporary) / 1e6:.0f} MB so far",
            f"pip could not fetch {peers.title}",
            {**os.environ, "TMPDIR": str(temporary)},
        )
        for program in PROGRAMS:  # the other scripts name the place where they were made
            if (packages / "bin" / program).is_file():
                os.rename(packages / "bin" / program, temporary / "home/bin" / program)
        shutil.rmtree(packages / "bin", ignore_errors=True)
        if compiler:
            without_cuda(compiler, packages)
        say("peers", "trying whether they start")
        _check_starts(temporary / "home/bin/python", peers)
        shutil.rmtree(home(dev_dir, peers), ignore_errors=True)
        os.rename(temporary / "home", home(dev_dir, peers))


def _compiler() -> str:
    found = shutil.which("cc") or shutil.which("gcc")
    if not found:
        raise Problem("PyTorch without CUDA needs a C compiler, and there is no cc: install it (Debian, Ubuntu: gcc)")
    return found


def _environment(folder: Path) -> Path:
    """An empty virtual environment; gives the folder of its packages."""
    try:
        import venv
    except ImportError as error:
        raise Problem("this Python has no module venv: install it (Debian, Ubuntu: python3-venv)") from error
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    for script in folder.glob("bin/[aA]ctivate*"):  # they name the temporary folder
        script.unlink()
    return next(folder.glob("lib/python*/site-packages"))


def without_cuda(compiler: str, packages: Path) -> None:
    """Empty libraries in place of CUDA's, so that PyTorch starts without them.

    The package index has PyTorch for Linux only as built with CUDA; what it does on a CPU is the same in both builds. Its
    start links everything at once unless Python is told to link what is called, which the .pth file does. The one library
    of CUDA that its start calls, the runtime, is among the requirements.
    """
    folder = packages / "torch/lib"
    if not (folder / "libtorch_cuda.so").is_file():
        return
    empty = folder / "libempty.so"
    command = [compiler, "-shared", "-nostdlib", "-x", "c", "-", "-o", str(empty)]
    done = subprocess.run(command, input=EMPTY, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Problem(f"{compiler} cannot make a shared library: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    for name in CUDA:
        if not (folder / name).exists():
            shutil.copyfile(empty, folder / name)
    empty.unlink()
    (packages / "without_cuda.pth").write_text("import os, sys; sys.setdlopenflags(os.RTLD_LAZY)\n")


def _check_starts(executable: Path, peers: Peers) -> None:
    try:
        done = subprocess.run(
            [str(executable), "-c", f"import {', '.join(peers.modules)}"],
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Problem(f"{peers.title} do not start on this system: {error}") from error
    if done.returncode:
        line = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise Problem(f"{peers.title} do not start on this system: {line}")
