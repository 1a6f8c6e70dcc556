"""Where a request to Amazon Bedrock goes, and its signature there."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.wire.bedrock_credentials import KeySource
from koda_daemon.ai.wire.bedrock_sigv4 import signed_headers
from koda_daemon.ai.wire.sse_provider import with_header

if TYPE_CHECKING:
    import httpx2

_HOST = re.compile(r"(bedrock-(?:runtime(?:-fips)?|mantle))\.([a-z0-9-]+)\.(amazonaws\.com(?:\.cn)?|api\.aws)\Z")
_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:([a-z0-9-]+):")


def regional(config: ProviderConfig, url: httpx2.URL, model_id: str) -> tuple[httpx2.URL, str]:
    """The address in the region that a request goes to: of the model's ARN, of the settings, or of the address."""
    arn, host = _ARN.match(model_id), _HOST.match(url.host)
    given = config.options.get("region")
    given = given if isinstance(given, str) and given else None
    if host is None:
        environ = config.environ
        given = given or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
        return url, arn[1] if arn else given or "us-east-1"
    region = arn[1] if arn else given or host[2]
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else host[3]
    return url.copy_with(host=f"{host[1]}.{region}.{suffix}"), region


async def signed(
    keys: KeySource, url: httpx2.URL, headers: list[tuple[bytes, bytes]], body: bytes, *, region: str, service: str
) -> list[tuple[bytes, bytes]]:
    """``headers`` with those that sign a POST of JSON. Raises ``auth.required`` or ``auth.expired``."""
    path, _, query = url.raw_path.decode().partition("?")
    signature = signed_headers(
        await keys.keys(),
        method="POST",
        host=url.netloc.decode(),
        path=path,
        query=query,
        headers={"content-type": "application/json"},
        body=body,
        region=region,
        service=service,
        now=datetime.now(UTC),
    )
    for name, value in signature.items():
        headers = with_header(headers, name.encode(), value)
    return headers
