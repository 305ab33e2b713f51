"""What goes wrong is one sentence; and how other programs are run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Dict, List, Optional

ROOT = Path(__file__).resolve().parents[2]


class Problem(Exception):
    """One sentence that says what is wrong and what to do."""


def run(command: List[str], failure: str, cwd: Optional[Path] = None, environ: Optional[Dict[str, str]] = None) -> str:
    """The output of a program; its last words where it fails."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environ, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise Problem(f"{failure}: {error}") from error
    if done.returncode:
        words = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Problem(f"{failure}: {' / '.join(words[-3:]) or f'exit code {done.returncode}'}")
    return done.stdout
