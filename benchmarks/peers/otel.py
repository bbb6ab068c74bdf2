"""The OpenTelemetry SDK with an exporter to a file: length-delimited OTLP protobuf, synced after every batch.

One span for each of the eight, its inputs and output as JSON attributes by the OpenInference names, and on it what a provider was
asked where the inputs do not tell it: fewer spans than kitchenlog's records, in the peer's favour. orjson; a vector as base64 of
float32, or as a JSON list. The batch processor has a queue that holds everything: one of its default 2,048 drops spans.
"""
# pyright: reportMissingImports=false, reportUntypedBaseClass=false

from __future__ import annotations

import argparse
import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import orjson
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks import refund
from benchmarks.measure import main

PACKAGES: Final = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-common", "protobuf", "orjson")
_QUEUE: Final = 1 << 20


def _text(value: Any) -> str:
    return str(orjson.dumps(value), "utf-8")


class FileExporter(SpanExporter):  # type: ignore[misc,unused-ignore]  # its module has no types here
    """OTLP requests in a file, each after its length."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append, and sync."""
        data = encode_spans(spans).SerializeToString()
        os.write(self._file, len(data).to_bytes(4, "little") + data)
        os.fdatasync(self._file)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Give the file back."""
        os.close(self._file)


class OpenTelemetry:
    """The refund trace, each function in a span."""

    def __init__(self, folder: Path, *, as_list: bool) -> None:
        self._path, self._as_list, self.sent = folder / "spans.otlp", as_list, 0
        self._provider = TracerProvider(resource=Resource.create({"service.name": "refund"}))
        self._processor = BatchSpanProcessor(
            FileExporter(self._path), max_queue_size=_QUEUE, max_export_batch_size=512, schedule_delay_millis=50
        )
        self._provider.add_span_processor(self._processor)
        self._span = self._provider.get_tracer("benchmarks").start_as_current_span

    def run(self, turns: Sequence[refund.Turn]) -> list[bool]:
        """See `System`."""
        return anyio.run(self._run, turns)

    async def _run(self, turns: Sequence[refund.Turn]) -> list[bool]:
        return [await self._turn(one) for one in turns]

    def finish(self) -> None:
        """See `System`."""
        self._processor.force_flush(600_000)

    async def _turn(self, one: refund.Turn) -> bool:
        self.sent += refund.SPANS
        with self._span("refund_chat.turn", attributes={"input.value": _text([*one])}) as span:
            query = await self._rewrite(one)
            vector = await self._embed(query)
            hits = await self._retrieve(query, vector)
            answer = await self._generate(one, hits)
            cited = self._cite(answer, hits)
            verdict = await self._judge(one, answer, cited)
            span.set_attribute("output.value", _text(verdict))
        return verdict

    def _packed(self, vector: bytes | list[float]) -> Any:
        return base64.b64encode(vector).decode() if isinstance(vector, bytes) else vector

    async def _rewrite(self, one: refund.Turn) -> str:
        with self._span("rewrite", attributes={"input.value": _text([*one])}) as span:
            prompt = refund.rewrite_prompt(one.number, one.text)
            span.set_attribute("llm.prompt", prompt)
            query = refund.reply(prompt)
            span.set_attribute("output.value", _text(query))
        return query

    async def _embed(self, query: str) -> bytes | list[float]:
        with self._span("embed", attributes={"input.value": _text(query)}) as span:
            number = refund.vector_of(query)
            vector = refund.lists()[number] if self._as_list else refund.vectors()[number]
            span.set_attribute("output.value", _text(self._packed(vector)))
        return vector

    async def _retrieve(self, query: str, vector: bytes | list[float]) -> list[str]:
        with self._span("retrieve", attributes={"input.value": _text([query, self._packed(vector)])}) as span:
            first = refund.first_of(vector)
            span.set_attribute("search.first", first)
            hits = await self._rerank(query, refund.found(query, first))
            span.set_attribute("output.value", _text(hits))
        return hits

    async def _rerank(self, query: str, hits: list[str]) -> list[str]:
        with self._span("rerank", attributes={"input.value": _text([query, hits])}) as span:
            scores = refund.scores(query, len(hits))
            span.set_attribute("reranker.scores", scores)
            ranked = refund.ranked(hits, scores)
            span.set_attribute("output.value", _text(ranked))
        return ranked

    async def _generate(self, one: refund.Turn, hits: list[str]) -> str:
        with self._span("generate", attributes={"input.value": _text([[*one], hits])}) as span:
            prompt = refund.answer_prompt(one.number, one.text, hits)
            span.set_attribute("llm.prompt", prompt)
            answer = refund.reply(prompt)
            span.set_attribute("output.value", _text(answer))
        return answer

    def _cite(self, answer: str, hits: list[str]) -> list[int]:
        with self._span("cite", attributes={"input.value": _text([answer, hits])}) as span:
            cited = refund.citations(answer, hits)
            span.set_attribute("output.value", _text(cited))
        return cited

    async def _judge(self, one: refund.Turn, answer: str, cited: list[int]) -> bool:
        with self._span("judge", attributes={"input.value": _text([[*one], answer, cited])}) as span:
            prompt = refund.judge_prompt(one.text, answer, cited)
            span.set_attribute("llm.prompt", prompt)
            verdict = refund.reply(prompt).endswith("True")
            span.set_attribute("output.value", _text(verdict))
        return verdict

    def check(self, turns: Sequence[refund.Turn]) -> tuple[int, int]:
        """See `System`. Every turn's number and text is looked for, and every span's input and output."""
        stored, seen = 0, set[str]()
        data = self._path.read_bytes()
        at = 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 4], "little")
            request = ExportTraceServiceRequest.FromString(data[at + 4 : at + 4 + length])
            at += 4 + length
            for span in (span for one in request.resource_spans for scope in one.scope_spans for span in scope.spans):
                stored += 1
                told = {one.key: one.value.string_value for one in span.attributes}
                assert told["input.value"]
                assert told["output.value"]
                if span.name == "refund_chat.turn":
                    seen.add(told["input.value"])
        assert seen == {_text([*one]) for one in turns}
        return self.sent, stored


def _make(folder: Path, asked: argparse.Namespace) -> OpenTelemetry:
    return OpenTelemetry(folder, as_list=asked.as_list)


if __name__ == "__main__":
    main(_make, PACKAGES)
