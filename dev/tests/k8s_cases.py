"""What the tests of k8s/ share: the overlays, rendered once, and how a test without tools ends."""

import functools
import json

from fakes import ROOT, Problem, left_out  # noqa: F401

from manifests import program, render

# What users make before the first `apply`, and what the Job `credentials` makes.
SECRETS = json.loads((ROOT / "k8s/required-secrets.json").read_text())
MADE = json.loads((ROOT / "k8s/made-secrets.json").read_text())

# Components on top of an overlay that has none of them.
ADDED = [("local", name) for name in ("ab-split", "cert-manager", "hpa", "inference-beside", "kafka-auth", "keda", "mongodb-auth", "monitoring", "shared-cache")]
ADDED += [("keda", "inference-beside"), ("production", "cert-manager")]


def need_tools():
    try:
        render.kubectl()
    except Problem as error:
        left_out(str(error))


def need_binary():
    if not program.binary():
        left_out("there is no binary of firesteel (`make build`), so the manifests were not compared with it")


@functools.lru_cache(maxsize=None)
def rendered(name, component=None):
    """Do not change what this gives: it is given again."""
    return render.with_component(name, component) if component else render.overlay(name)


def everything():
    """(name, objects) of each overlay, and of each component that no overlay has, on top of one."""
    for name in render.overlays():
        yield name, rendered(name)
    for name, component in ADDED:
        yield f"{name} with {component}", rendered(name, component)
