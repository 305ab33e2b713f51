"""Renders kustomizations into lists of objects."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Dict, List

from . import tools

Object = Dict[str, Any]
OVERLAYS = tools.ROOT / "k8s/overlays"
COMPONENTS = tools.ROOT / "k8s/components"


def overlays() -> List[str]:
    return sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml"))


def components() -> List[str]:
    return sorted(path.parent.name for path in COMPONENTS.glob("*/kustomization.yaml"))


def render(folder: Path) -> List[Object]:
    """What `kubectl apply --kustomize FOLDER` would send."""
    done = subprocess.run(
        [str(tools.kubectl()), "kustomize", str(folder)], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise ValueError(f"{folder} cannot be rendered: {done.stderr.strip()[:2000]}")
    return load(done.stdout)


def overlay(name: str) -> List[Object]:
    return render(OVERLAYS / name)


def with_component(base: str, component: str) -> List[Object]:
    """An overlay with one more component."""
    with tempfile.TemporaryDirectory() as folder:
        # Where links are resolved, a relative path has to start from the folder's real name.
        here = Path(folder).resolve()
        lines = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization", "namespace: firesteel"]
        lines += ["resources:", f"  - {os.path.relpath(OVERLAYS / base, here)}"]
        lines += ["components:", f"  - {os.path.relpath(COMPONENTS / component, here)}"]
        (here / "kustomization.yaml").write_text("\n".join(lines) + "\n")
        return render(here)


def load(text: str) -> List[Object]:
    tools.folder()
    import yaml

    return [item for item in yaml.safe_load_all(text) if item]
