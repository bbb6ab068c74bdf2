"""The seven standard steps, their value types, and the protocols of the providers they call."""

from steps.cite import Cite
from steps.embed import Embed
from steps.generate import Generate
from steps.judge import Judge
from steps.prompt import FromDocuments
from steps.providers import Chat, Checker, Embedder, Index, Provider, Scorer, StreamingChat
from steps.rerank import Rerank
from steps.retrieve import Retrieve
from steps.rewrite import Rewrite
from steps.values import (
    Answer,
    Candidate,
    ChatChunk,
    ChatRequest,
    Cited,
    Claim,
    Completion,
    Draft,
    Embedding,
    Found,
    Hit,
    Message,
    Part,
    Scores,
    Support,
    Turn,
    Usage,
    Verdict,
)

__all__ = (
    "Answer",
    "Candidate",
    "Chat",
    "ChatChunk",
    "ChatRequest",
    "Checker",
    "Cite",
    "Cited",
    "Claim",
    "Completion",
    "Draft",
    "Embed",
    "Embedder",
    "Embedding",
    "Found",
    "FromDocuments",
    "Generate",
    "Hit",
    "Index",
    "Judge",
    "Message",
    "Part",
    "Provider",
    "Rerank",
    "Retrieve",
    "Rewrite",
    "Scorer",
    "Scores",
    "StreamingChat",
    "Support",
    "Turn",
    "Usage",
    "Verdict",
)
