"""Objects against schemas: Kubernetes' own, strictly; the definitions in dev/kube/crds for the kinds that others bring; and the
rules of policy.yaml, which are schemas with words of their own."""

from __future__ import annotations

import copy
import functools
import json
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

from shared_lib.program import ROOT

from . import render
from .objects import Object, pods, title

# The oldest version that the docs promise, and the newest that there is a schema of.
VERSIONS = ("1.29", "1.37")
_passed: Set[str] = set()


@functools.lru_cache(maxsize=None)
def definitions() -> Dict[str, Any]:
    """The schema of each kind of others, by apiVersion/kind. What it does not name is refused, as strict validation does."""

    def strict(schema: Any) -> Any:
        if isinstance(schema, dict):
            if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
                schema.setdefault("additionalProperties", False)
            for inner in schema.values():
                strict(inner)
        return schema

    found = {}
    for path in sorted((ROOT / "dev/kube/crds").glob("*.yaml")):
        for item in render.load(path.read_text()):
            for version in item["spec"]["versions"]:
                schema = strict(copy.deepcopy(version["schema"]["openAPIV3Schema"]))
                schema["properties"].update(dict.fromkeys(("apiVersion", "kind", "metadata"), True))
                found[f"{item['spec']['group']}/{version['name']}/{item['spec']['names']['kind']}"] = schema
    return found


def check(objects: List[Object]) -> List[str]:
    render.packages()
    import jsonschema
    import kubernetes_validate

    findings = []
    for item in objects:
        key = json.dumps(item, sort_keys=True)
        if key in _passed:  # in another overlay
            continue
        before = len(findings)
        theirs = definitions().get(f"{item['apiVersion']}/{item['kind']}")
        if theirs:
            for error in jsonschema.Draft202012Validator(theirs).iter_errors(item):
                findings.append(f"{title(item)}: {'.'.join(map(str, error.path))}: {error.message[:300]}")
        for version in () if theirs else VERSIONS:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                findings.append(f"{title(item)}: Kubernetes {version} has no {item['apiVersion']} {item['kind']}")
            except kubernetes_validate.ValidationError as error:
                findings.append(f"{title(item)}: Kubernetes {version}: {str(error)[:300]}")
        if len(findings) == before:
            _passed.add(key)
    return findings


@functools.lru_cache(maxsize=None)
def rules() -> List[Tuple[Dict[str, Any], Any]]:
    """Each rule of policy.yaml, with what checks it."""
    [found] = render.load((Path(__file__).parent / "policy.yaml").read_text())
    import jsonschema

    return [(rule, jsonschema.Draft202012Validator(rule["schema"])) for rule in found]


def policy(objects: List[Object]) -> List[str]:
    subjects = list(_subjects(objects))
    return [
        f"{who}: {rule['says']}"
        for rule, schema in rules()
        for of, kind, who, what in subjects
        if rule["of"] == of and kind in rule.get("only", [kind]) and kind != rule.get("except") and not schema.is_valid(what)
    ]


def _subjects(objects: List[Object]) -> Iterator[Tuple[str, str, str, Any]]:
    """(what a rule may be about, the kind of the object around it, its name in words, the thing itself)."""
    for item in objects:
        yield item["kind"], item["kind"], title(item), item
        for path, text in _texts(item):
            yield "text", item["kind"], f"{title(item)} {path}", text
        if item["kind"] == "ConfigMap":
            for key, text in item.get("data", {}).items():
                yield "script", "ConfigMap", f"{title(item)} {key}", text
    for pod in pods(objects):
        yield "pod", pod.kind, str(pod), pod.spec
        for container in pod.containers():
            yield "container", pod.kind, f"{pod}/{container['name']}", container
            yield "text", pod.kind, f"{pod}/{container['name']} command line", _command_line(container)


def _command_line(container: Object) -> str:
    """An option and its value as one word, so that a rule about a text sees both."""
    words = [*container.get("command", []), *container.get("args", [])]
    return re.sub(r"(--[\w-]+) (?!-)", r"\1=", " ".join(words))


def _texts(value: Any, path: str = "") -> Iterator[Tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(inner, f"{path}.{key}" if path else str(key))
