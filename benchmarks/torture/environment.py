"""An environment of its own for each contestant, made once from a pinned requirements file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
MADE: Final = ROOT / ".venv" / "torture"
"""Git ignores it, and `make clean` removes it."""


def python_of(module: str) -> Path:
    """The interpreter of a contestant's environment, which is made where it is not there.

    Raises:
        subprocess.CalledProcessError: it could not be made; there may be no package index.
    """
    if module == "kitchenlog":
        return Path(sys.executable)
    pinned = Path(__file__).parent / "requirements" / f"{module}.txt"
    folder = MADE / module
    done = folder / "made"
    python = folder / "bin" / "python"
    if not done.exists() or done.read_text() != pinned.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "-r", str(pinned)]
        subprocess.run(install, check=True)
        done.write_text(pinned.read_text())
    return python
