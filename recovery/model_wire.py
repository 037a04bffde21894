"""The wire to a language model: one request of the chat-completions API, in a thread of its own and in its time.

The thread has its own event loop, so that a caller with a loop of its own and a forked pool process are the same to it;
the caller waits for it so long and not longer, whatever the server does: hang, trickle, or send without an end.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel

from execution import words
from recovery.conf import Settings

LONGEST_RESPONSE = 1024 * 1024

Answer = TypeVar("Answer", bound=BaseModel)


class ResponseTooLarge(Exception):
    """The server sent more than any answer needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard(Generic[Answer]):
    """How a question ended."""

    answer: Answer | None = None
    problem: str = ""
    question_tokens: int = 0
    answer_tokens: int = 0
    is_unknown: bool = False
    """Whether it may have cost what nobody told."""


def hear(question: str, answer: type[Answer], settings: Settings, *, seconds: float, tokens: int) -> Heard[Answer]:
    """Ask, and wait so long for the answer."""
    heard: queue.SimpleQueue[Heard[Answer]] = queue.SimpleQueue()

    def listen() -> None:
        heard.put(asyncio.run(_hear(question, answer, settings, seconds=seconds, tokens=tokens)))

    threading.Thread(target=listen, name="advice", daemon=True).start()
    try:
        return heard.get(timeout=seconds)
    except queue.Empty:
        return _late(settings)


def _late(settings: Settings) -> Heard[Any]:
    return Heard(problem=f"no answer within {settings.model_timeout_seconds:g} s", is_unknown=True)


async def _hear(
    question: str, answer: type[Answer], settings: Settings, *, seconds: float, tokens: int
) -> Heard[Answer]:
    """Ask in this loop; whatever goes wrong is told and not raised."""
    from pydantic_ai.usage import RunUsage

    usage = RunUsage()
    try:
        async with httpx.AsyncClient(transport=_Bounded(), timeout=seconds, trust_env=False) as http:
            agent = _agent(answer, settings, http, tokens=tokens)
            said = await asyncio.wait_for(agent.run(question, usage=usage), seconds)
    except TimeoutError:
        return _late(settings)
    except Exception as problem:  # noqa: BLE001 - clients and servers may raise anything
        return Heard(
            problem=_explain(problem, answer),
            question_tokens=usage.input_tokens,
            answer_tokens=usage.output_tokens,
            is_unknown=not usage.input_tokens and not _is_refused(problem),
        )
    return Heard(
        answer=said.output,
        question_tokens=usage.input_tokens,
        answer_tokens=usage.output_tokens,
        is_unknown=not usage.input_tokens,
    )


def _agent(answer: type[BaseModel], settings: Settings, http: httpx.AsyncClient, *, tokens: int) -> Any:
    """Return the client of one question: no retries, no redirects, no tools but the answer itself."""
    from openai import AsyncOpenAI
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    client = AsyncOpenAI(
        base_url=settings.model_base_url or None,
        api_key=os.environ.get(settings.model_key_env) or "none",
        max_retries=0,
        http_client=http,  # type: ignore[arg-type] # openai 3 knows httpx at run time only
    )
    model = OpenAIChatModel(settings.model.rpartition(":")[2], provider=OpenAIProvider(openai_client=client))
    return Agent(model, output_type=answer, retries=0, model_settings={"max_tokens": tokens})


def _causes(problem: BaseException) -> list[BaseException]:
    """Return an error with those it came from, the outermost first."""
    found = [problem]
    while (cause := found[-1].__cause__ or found[-1].__context__) is not None and cause not in found:
        found.append(cause)
    return found


def _is_refused(problem: BaseException) -> bool:
    """Tell whether the server said no, or could not be reached: neither costs anything."""
    return any(_status(one) or isinstance(one, httpx.ConnectError | httpx.ConnectTimeout) for one in _causes(problem))


def _status(problem: BaseException) -> int | None:
    status = getattr(problem, "status_code", None)
    return status if isinstance(status, int) else None


def _explain(problem: BaseException, answer: type[BaseModel]) -> str:
    """Say what went wrong without what the server said: that may hold anything, the key as well."""
    from pydantic_ai.exceptions import UnexpectedModelBehavior

    for cause in _causes(problem):
        if status := _status(cause):
            return f"the server answered {status}"
        if isinstance(cause, ResponseTooLarge):
            return f"the server sent more than {words.size(LONGEST_RESPONSE)}, or packed it"
        if isinstance(cause, httpx.TransportError):
            return f"the server cannot be reached, or cut the connection ({type(cause).__name__})"
    if isinstance(problem, UnexpectedModelBehavior):
        return f"the answer is no {answer.__name__} ({type(problem).__name__})"
    return " from ".join(type(one).__name__ for one in _causes(problem))


class _Bounded(httpx.AsyncHTTPTransport):
    """A transport that gives up on a response that is larger than any answer, or packed so that nobody can tell."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ResponseTooLarge
        response.stream = _BoundedStream(response.stream)
        return response


class _BoundedStream(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        async for chunk in self._stream:
            count += len(chunk)
            if count > LONGEST_RESPONSE:
                raise ResponseTooLarge
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
