"""How a file came about: an in-toto statement with SLSA's provenance (v1). It is not signed: whoever publishes a file signs it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Dict, List

KIND = "https://firesteel.dev/build/cargo/v1"


def sha256(path: Path) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def provenance(subjects: List[Path], sources: Dict[str, Path], revision: str, clean: bool, how: Dict[str, str]) -> Dict[str, Any]:
    """`sources`: what decides the dependencies, by name; `how`: compiler, flags and the like; `clean`: all of it is committed."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": path.name, "digest": {"sha256": sha256(path)}} for path in subjects],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": KIND,
                "externalParameters": how,
                "internalParameters": {"committed": clean},
                "resolvedDependencies": [
                    {"uri": "git+firesteel", "digest": {"gitCommit": revision}},
                    *({"uri": name, "digest": {"sha256": sha256(path)}} for name, path in sorted(sources.items())),
                ],
            },
            "runDetails": {"builder": {"id": "https://firesteel.dev/build/dev-image"}},
        },
    }
