"""The doors of contestants that record HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from benchmarks.torture import kit as kits
from benchmarks.torture import provider


class Doors(kits.Tasks):
    """Every door is a POST of one httpx client."""

    def __init__(self, client: Any, url: str) -> None:
        self._client, self._url = client, url

    async def ask(self, text: str) -> Any:
        """The provider."""
        return await provider.post(self._client, self._url, "/ask", text)

    async def pay(self, text: str) -> Any:
        """The provider, with a side effect."""
        return await provider.post(self._client, self._url, "/pay", text)

    async def stream(self, text: str) -> AsyncIterator[str]:
        """The provider, in pieces."""
        async for one in provider.events(self._client, self._url, text):
            yield one

    async def stock(self, item: str) -> Any:
        """No HTTP, so no boundary."""
        return kits.look_up(item)
