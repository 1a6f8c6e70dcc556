"""``bedrock-converse``: the models on Amazon Bedrock over its Converse API.

Without AWS's SDK: requests carry a bearer token (a Bedrock API key), or are signed here. Its own search for credentials
(SSO, roles) is used for profiles where botocore is installed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from koda_daemon.ai.provider import Context, Model
from koda_daemon.ai.wire.assembler import Assembler
from koda_daemon.ai.wire.bedrock_credentials import KeySource, key_source
from koda_daemon.ai.wire.bedrock_events import ConverseReader
from koda_daemon.ai.wire.bedrock_frames import FrameReader
from koda_daemon.ai.wire.bedrock_region import regional, signed
from koda_daemon.ai.wire.bedrock_request import ConverseWriter
from koda_daemon.ai.wire.sse_provider import SSEProvider, with_header
from koda_daemon.base.errors import KodaError

if TYPE_CHECKING:
    import httpx2

    from koda_daemon.ai.http import Answer, HttpPool

# HTTP statuses of the exceptions that may come inside a stream (API reference, "ConverseStreamOutput").
_STATUSES = {
    "internalServerException": 500,
    "modelStreamErrorException": 502,  # 424 in the reference, which says: retry
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}


class BedrockConverse(SSEProvider):
    """``ConverseStream`` in one region."""

    api_type = "bedrock-converse"
    _keys: KeySource | None = None

    def address(self, pool: HttpPool) -> tuple[httpx2.URL, dict[str, str]]:
        import httpx2

        self._keys = None if self.config.token is not None else key_source(self.config)
        headers = {"authorization": f"Bearer {self.config.api_key}"} if self.config.api_key and not self._keys else {}
        return httpx2.URL(self.config.base_url), headers

    async def target(self, model: Model, context: Context, body: bytes) -> tuple[httpx2.URL, list[tuple[bytes, bytes]]]:
        url, headers = await super().target(model, context, body)
        url, region = regional(self.config, url, model.id)
        path = f"{url.raw_path.decode().rstrip('/')}/model/{quote(model.id, safe='')}/converse-stream"
        url = url.copy_with(raw_path=path.encode())
        headers = with_header(headers, b"accept", "application/vnd.amazon.eventstream")
        if self._keys is not None:
            headers = await signed(self._keys, url, headers, body, region=region, service="bedrock")
        return url, headers

    def payloads(self, answer: Answer) -> AsyncGenerator[bytes]:
        return answer.payloads() if answer.is_json else _events(answer.chunks())

    def writer(self, model: Model) -> ConverseWriter:
        return ConverseWriter(model, self.api_type, self.config.compat_with(model.compat))

    def reader(self, assembler: Assembler) -> ConverseReader:
        return ConverseReader(assembler)


async def _events(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    reader = FrameReader()
    async for chunk in chunks:
        for headers, payload in reader.feed(chunk):
            yield named_payload(headers, payload)
        if reader.damaged:
            raise KodaError("provider.unreachable", reader.damaged, retryable=True)


def named_payload(headers: Mapping[str, str], payload: bytes) -> bytes:
    """The payload of a message under the name of its event; an exception or error as ``error``, with its status."""
    kind = headers.get(":message-type", "event")
    if kind == "event":
        return b'{"%b":%b}' % (headers.get(":event-type", "").encode(), payload or b"null")
    name = headers.get(":exception-type") or headers.get(":error-code") or kind
    try:
        given = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        given = {}
    message = headers.get(":error-message", "")
    if isinstance(given, dict):
        found = given.get("message") or given.get("Message") or given.get("originalMessage")
        message = found if isinstance(found, str) else message
    status = given.get("originalStatusCode") if isinstance(given, dict) else None
    if not isinstance(status, int):
        status = _STATUSES.get(name[:1].lower() + name[1:], 500)
    return msgspec.json.encode({"error": {"error": {"code": status, "type": name, "message": message}}})
