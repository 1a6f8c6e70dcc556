"""``openai-responses``: the Responses API of OpenAI, and of xAI, OpenRouter and others that speak it.

Without the official client: for one address and a header it would cost half a second and 30 MB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from koda_daemon.ai.provider import Context, Model, StreamOptions
from koda_daemon.ai.wire.assembler import Assembler
from koda_daemon.ai.wire.openai_completions import openai_list
from koda_daemon.ai.wire.openai_responses_events import ResponsesReader
from koda_daemon.ai.wire.openai_responses_request import ResponsesWriter
from koda_daemon.ai.wire.sse_provider import Reader, SSEProvider, Writer
from koda_daemon.base.errors import KodaError

if TYPE_CHECKING:
    import httpx2

    from koda_daemon.ai.http import Answer, HttpPool


class OpenAIResponses(SSEProvider):
    """Responses at ``responses`` under the provider's address, with its key as a bearer token."""

    api_type = "openai-responses"

    def address(self, pool: HttpPool) -> tuple[httpx2.URL, dict[str, str]]:
        import httpx2

        config = self.config
        headers = {"authorization": f"Bearer {config.api_key}"} if config.api_key else {}
        if config.id == "openai" and not config.compat.plan_usage:  # a plan belongs to no organization of the API
            owners = {"openai-organization": "OPENAI_ORG_ID", "openai-project": "OPENAI_PROJECT_ID"}
            headers |= {
                name: config.environ[variable] for name, variable in owners.items() if variable in config.environ
            }
        return httpx2.URL(f"{config.base_url.rstrip('/')}/responses"), headers

    def list_request(self) -> tuple[str, dict[str, str]] | None:
        return openai_list(self.config)

    def writer(self, model: Model) -> Writer:
        return ResponsesWriter(model, self.api_type, self.config.compat_with(model.compat))

    def reader(self, assembler: Assembler) -> Reader:
        return ResponsesReader(assembler)

    async def _post(self, model: Model, context: Context, options: StreamOptions) -> Answer:
        """Asks once more without what was refused, if that is something that can be left out: the reasoning of earlier
        answers, which another key cannot read, or summaries. Every further request would fail the same way.
        """
        try:
            return await super()._post(model, context, options)
        except KodaError as error:
            writer = self._writers.get(model)
            if not isinstance(writer, ResponsesWriter) or not writer.mend(error.message, context.messages):
                raise
            return await super()._post(model, context, options)
