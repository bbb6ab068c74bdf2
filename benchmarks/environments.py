"""An environment for each peer, made from its pinned requirements the first time and whenever they change."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
_REQUIREMENTS: Final = _HERE / "peers" / "requirements"
_ENVIRONMENTS: Final = _HERE / ".venvs"


def python(name: str) -> str:
    """The interpreter of an environment, which is made if it has to be.

    Args:
        name: of a file of requirements, every one of them pinned.

    Raises:
        CalledProcessError: they could not be installed.
    """
    wanted = (_REQUIREMENTS / f"{name}.txt").read_text("utf-8")
    folder = _ENVIRONMENTS / name
    made = folder / "requirements.txt"
    interpreter = folder / "bin" / "python"
    told = f"# Python {sys.version.split()[0]}\n{wanted}"
    if not made.exists() or made.read_text("utf-8") != told:
        print(f"making {folder.relative_to(_HERE.parent)}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        install = [str(interpreter), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "-r"]
        subprocess.run([*install, str(_REQUIREMENTS / f"{name}.txt")], check=True)
        made.write_text(told, "utf-8")
    return str(interpreter)
