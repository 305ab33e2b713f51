"""Objects against schemas: Kubernetes' own, strictly, and small ones of ours for the kinds that others bring.

The small ones know the fields that our objects use and refuse every other, so that a misspelt field is found.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Set

from . import tools
from .objects import Object, title

# The oldest version that the docs promise, and the newest that there is a schema of.
VERSIONS = ("1.29", "1.37")

TEXT: Dict[str, Any] = {"type": "string"}
NUMBER: Dict[str, Any] = {"type": "integer", "minimum": 0}
TEXTS: Dict[str, Any] = {"type": "object", "additionalProperties": TEXT}


def _shape(required: str, **fields: Any) -> Dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required.split(), "properties": fields}


def _list(item: Dict[str, Any]) -> Dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": item}


_ENDPOINTS = _list(_shape("port", port=TEXT, path=TEXT, interval=TEXT))
_SELECTOR = _shape("matchLabels", matchLabels=TEXTS)

OURS: Dict[str, Dict[str, Any]] = {
    "keda.sh/v1alpha1/ScaledObject": _shape(
        "scaleTargetRef triggers",
        scaleTargetRef=_shape("name", name=TEXT, kind=TEXT, apiVersion=TEXT),
        minReplicaCount=NUMBER,
        maxReplicaCount=NUMBER,
        pollingInterval=NUMBER,
        cooldownPeriod=NUMBER,
        advanced=_shape(
            "scalingModifiers",
            scalingModifiers=_shape(
                "formula target", formula=TEXT, target=TEXT, activationTarget=TEXT, metricType={"enum": ["AverageValue", "Value"]}
            ),
        ),
        triggers=_list(
            {
                "oneOf": [
                    _shape(
                        "type metadata",
                        type={"const": "kafka"},
                        name=TEXT,
                        metadata=_shape(
                            "bootstrapServers consumerGroup topic lagThreshold offsetResetPolicy",
                            bootstrapServers=TEXT,
                            consumerGroup=TEXT,
                            topic=TEXT,
                            lagThreshold=TEXT,
                            offsetResetPolicy={"enum": ["earliest", "latest"]},
                        ),
                    ),
                    _shape(
                        "type metadata",
                        type={"const": "metrics-api"},
                        name=TEXT,
                        metadata=_shape("url valueLocation targetValue", url=TEXT, valueLocation=TEXT, targetValue=TEXT),
                    ),
                    _shape(
                        "type metricType metadata",
                        type={"const": "cpu"},
                        metricType={"enum": ["Utilization", "AverageValue"]},
                        metadata=_shape("value", value=TEXT),
                    ),
                ]
            }
        ),
    ),
    "monitoring.coreos.com/v1/ServiceMonitor": _shape("selector endpoints", selector=_SELECTOR, endpoints=_ENDPOINTS),
    "monitoring.coreos.com/v1/PodMonitor": _shape(
        "selector podMetricsEndpoints", selector=_SELECTOR, podMetricsEndpoints=_ENDPOINTS
    ),
}

_passed: Set[str] = set()


def check(objects: List[Object]) -> List[str]:
    tools.folder()
    import jsonschema
    import kubernetes_validate

    findings = []
    for item in objects:
        key = json.dumps(item, sort_keys=True)
        if key in _passed:  # in another overlay
            continue
        before = len(findings)
        ours = OURS.get(f"{item['apiVersion']}/{item['kind']}")
        if ours:
            for error in jsonschema.Draft202012Validator(ours).iter_errors(item.get("spec", {})):
                findings.append(f"{title(item)}: spec.{'.'.join(map(str, error.path))}: {error.message[:300]}")
        for version in () if ours else VERSIONS:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                findings.append(f"{title(item)}: Kubernetes {version} has no {item['apiVersion']} {item['kind']}")
            except kubernetes_validate.ValidationError as error:
                findings.append(f"{title(item)}: Kubernetes {version}: {str(error)[:300]}")
        if len(findings) == before:
            _passed.add(key)
    return findings
