"""The parts of the binary as a CycloneDX document: every crate that it is built of, by `cargo metadata` and Cargo.lock.

The same tree gives the same document, byte for byte: what it is numbered by is its content, and its time is that of the commit.
"""

from __future__ import annotations

import json
import re
import tomllib
import uuid
from typing import Any, Dict, Iterable, List, Optional, Tuple
from urllib.parse import quote

Object = Dict[str, Any]
# Libraries in C that a crate brings along, under the version that stands behind the + of its own.
BUNDLED = {
    "openssl-src": ("openssl", "Apache-2.0"),
    "rdkafka-sys": ("librdkafka", "BSD-2-Clause"),
    "zstd-sys": ("zstd", "BSD-3-Clause"),
    "bzip2-sys": ("bzip2", "bzip2-1.0.6"),
    "lz4-sys": ("lz4", "BSD-2-Clause"),
}


def reached(metadata: Object, root: str) -> Dict[str, List[str]]:
    """The packages that `root` is built of, itself included, and what each depends on; tests' own dependencies are none."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found: Dict[str, List[str]] = {}
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        wanted = [
            edge["pkg"] for edge in nodes[one]["deps"] if any(kind["kind"] != "dev" for kind in edge["dep_kinds"])
        ]
        found[one] = sorted(set(wanted))
        waiting += wanted
    return found


def checksums(lock: str) -> Dict[Tuple[str, str], str]:
    packages = tomllib.loads(lock)["package"]
    return {(one["name"], one["version"]): one["checksum"] for one in packages if "checksum" in one}


def purl(name: str, version: str) -> str:
    return f"pkg:cargo/{quote(name)}@{quote(version)}"


def licence(text: Optional[str]) -> List[Object]:
    # An older way to write `or`.
    return [{"expression": re.sub(r"\s*/\s*", " OR ", text)}] if text else []


def document(metadata: Object, lock: str, time: str, revision: str, debian: Iterable[Tuple[str, str]] = ()) -> Object:
    """The document of the package `firesteel`; `debian`: names and versions of the packages below it in an image."""
    packages = {package["id"]: package for package in metadata["packages"]}
    [root] = [one for one, package in packages.items() if package["name"] == "firesteel"]
    graph, sums = reached(metadata, root), checksums(lock)
    reference = {one: purl(packages[one]["name"], packages[one]["version"]) for one in graph}
    components, edges = [], {reference[one]: sorted({reference[other] for other in wanted}) for one, wanted in graph.items()}
    for one in graph:
        package = packages[one]
        name, version = package["name"], package["version"]
        if one == root:
            continue
        component: Object = {"type": "library", "bom-ref": reference[one], "name": name, "version": version, "purl": reference[one]}
        if (name, version) in sums:
            component["hashes"] = [{"alg": "SHA-256", "content": sums[name, version]}]
        component["licenses"] = licence(package.get("license"))
        components.append(component)
        if name in BUNDLED and "+" in version:
            library, terms = BUNDLED[name]
            own = re.sub(r"^[a-z]+\.", "", version.split("+", 1)[1])
            bundled = f"pkg:generic/{library}@{quote(own)}"
            components.append({
                "type": "library", "bom-ref": bundled, "name": library, "version": own, "purl": bundled,
                "licenses": licence(terms), "description": f"compiled with the crate {name}",
            })
            edges[reference[one]] = sorted([*edges[reference[one]], bundled])
    for name, version in debian:
        bundled = f"pkg:deb/debian/{quote(name)}@{quote(version)}"
        components.append({"type": "library", "bom-ref": bundled, "name": name, "version": version, "purl": bundled})
    components.sort(key=lambda one: one["bom-ref"])
    own = packages[root]
    found = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time,
            "component": {
                "type": "application", "bom-ref": reference[root], "name": own["name"], "version": own["version"],
                "purl": reference[root], "licenses": licence(own.get("license")),
                "properties": [{"name": "firesteel:revision", "value": revision}],
            },
        },
        "components": components,
        "dependencies": [{"ref": one, "dependsOn": wanted} for one, wanted in sorted(edges.items())],
    }
    found["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(found, sort_keys=True))}"
    return found
