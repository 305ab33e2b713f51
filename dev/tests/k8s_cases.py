"""What the tests of k8s/ share: the overlays, rendered once, and how a test without tools ends."""

import functools
import json
import os
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "dev"))

from k8s_lib import render, tools  # noqa: E402

SECRETS = json.loads((ROOT / "k8s/required-secrets.json").read_text())

# Components on top of an overlay that has none of them.
ADDED = [("local", name) for name in ("hpa", "inference-beside", "keda", "mongodb-auth", "monitoring", "shared-cache")]
ADDED += [("keda", "inference-beside")]


def required():
    """Whether nothing may be left out, as under `make test`."""
    return os.environ.get("FIRESTEEL_TEST_REQUIRE_SERVICES") == "1"


def left_out(why):
    """Ends a test that cannot run: loudly, and where everything has to run, as a failure."""
    if required():
        raise AssertionError(why)
    print(f"\nNOT TESTED: {why}", file=sys.stderr)
    raise unittest.SkipTest(why)


def need_tools():
    try:
        tools.kubectl()
    except tools.Unavailable as error:
        left_out(str(error))


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
