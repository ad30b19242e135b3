"""The endpoint as an ASGI application: routes, and what happens when a client hangs up.

app = build_app(guarded, Limits(), access=Access())
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from ellora_trust.serving.access import Access, check_json
from ellora_trust.serving.extra import require_extra
from ellora_trust.serving.generation import Guarded
from ellora_trust.serving.limits import Limits, Slots, read_body
from ellora_trust.serving.reading import Reader
from ellora_trust.serving.refusals import Refusal
from ellora_trust.serving.replies import Reply, models
from ellora_trust.serving.schema import Asked, ChatRequest, CompletionRequest, parse
from ellora_trust.serving.stream import stream
from ellora_trust.serving.worker import Ticket, Worker

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

# nginx's status for a client that left before the answer; nobody reads it but the log.
CLIENT_LEFT = 499


def build_app(guarded: Guarded, limits: Limits, *, access: Access) -> FastAPI:
    """Return the application; its worker thread ends with it.

    Args:
        guarded: The model with its probe.
        limits: What is refused.
        access: Who may ask.

    Raises:
        EnvironmentProblem: The `serve` extra is not installed.
    """
    require_extra()
    from fastapi import FastAPI
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    endpoint = Endpoint(guarded, limits, access)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        endpoint.worker.close()

    # The pages of documentation would load scripts from elsewhere.
    app = FastAPI(title="ellora-trust", openapi_url=None, lifespan=lifespan)
    app.state.endpoint = endpoint
    app.add_route("/health", endpoint.health, ["GET"])
    app.add_route("/v1/models", endpoint.models, ["GET"])
    app.add_route("/v1/models/{name:path}", endpoint.model, ["GET"])
    app.add_route("/v1/completions", endpoint.completions, ["POST"])
    app.add_route("/v1/chat/completions", endpoint.chat, ["POST"])
    for kind, handler in {
        Refusal: _refused,
        HTTPException: _unknown,
        ClientDisconnect: _left,
        Exception: _refused,
    }.items():
        app.add_exception_handler(kind, handler)
    return app


class Endpoint:
    """The routes.

    Attributes:
        guarded: The model with its probe.
        worker: The thread that owns them.
        slots: Open requests.
    """

    def __init__(self, guarded: Guarded, limits: Limits, access: Access):
        self.guarded, self._limits, self._access = guarded, limits, access
        self._reader = Reader(guarded, limits)
        self.worker = Worker(guarded.answer, queue=limits.queue)
        self.slots = Slots(limits.concurrent)
        self._created = int(time.time())

    async def health(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        return JSONResponse({"status": "ok", "open": self.slots.taken_now, "working_or_waiting": self.worker.busy})

    async def models(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        self._access.check(request)
        return JSONResponse({"object": "list", "data": models(self.guarded, self._created)})

    async def model(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        self._access.check(request)
        self._reader.check_model(request.path_params["name"])
        return JSONResponse(models(self.guarded, self._created)[0])

    async def completions(self, request: Request) -> Response:
        return await self._answer(request, CompletionRequest)

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, ChatRequest)

    async def _answer(self, request: Request, kind: type[Asked]) -> Response:
        from starlette.responses import JSONResponse

        self._access.check(request)
        check_json(request)
        with ExitStack() as stack:
            stack.enter_context(self.slots.taken())
            asked = parse(kind, await read_body(request, self._limits))
            job = await asyncio.to_thread(self._reader.job, asked)
            reply = Reply.of(self.guarded, job, chat=kind is ChatRequest, logprobs=asked.wants_logprobs)
            ticket = stack.enter_context(self.worker.ticket(job))
            if asked.stream:
                usage = bool(asked.stream_options and asked.stream_options.include_usage)
                return _streamed(stream(ticket, reply, include_usage=usage), stack.pop_all())
            if not await _finished(ticket, request):
                return _left(request)
            return JSONResponse(reply.body(ticket.result()))


async def _finished(ticket: Ticket, request: Request) -> bool:
    """Wait for the worker; False if the client hangs up first."""

    async def drain() -> None:
        async for _ in ticket.events():
            pass

    # The body has been read, so the next message can only be that the client is gone.
    left = asyncio.ensure_future(request.receive())
    done = asyncio.ensure_future(drain())
    try:
        await asyncio.wait([left, done], return_when=asyncio.FIRST_COMPLETED)
        return done.done()
    finally:
        left.cancel()
        done.cancel()


def _streamed(events: AsyncIterator[str], held: ExitStack) -> Response:
    """Return a response that lets go of what is held when it ends, however it ends."""
    from starlette.responses import StreamingResponse

    class Held(StreamingResponse):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            with held:
                await super().__call__(scope, receive, send)

    # Proxies such as nginx would collect the pieces.
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Held(events, media_type="text/event-stream", headers=headers)


def _refused(request: Request, error: Exception) -> Response:
    from starlette.responses import JSONResponse

    refusal = Refusal.of(error)
    return JSONResponse(refusal.body(), refusal.status, headers=refusal.headers)


def _unknown(request: Request, error: Any) -> Response:
    """What no route takes, in the same form as every other refusal."""
    said = f"{request.method} {request.url.path[:80]} is not served; use /v1/chat/completions, /v1/completions, "
    return _refused(request, Refusal(error.status_code, said + "/v1/models or /health", headers=error.headers))


def _left(request: Request, error: Exception | None = None) -> Response:
    from starlette.responses import Response

    return Response(status_code=CLIENT_LEFT)
