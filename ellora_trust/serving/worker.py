"""The one thread that owns the model, and the requests that wait for it.

worker = Worker(guarded.answer, queue=16)
with worker.ticket(job) as ticket:          # leaving the `with` gives the place back and stops the generation
    async for event in ticket.events(): ...
    choices = ticket.result()
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from ellora_trust.errors import InputError
from ellora_trust.serving.jobs import Choice, HungUp, Job, TokenRead
from ellora_trust.serving.limits import busy
from ellora_trust.serving.refusals import Refusal

LOG = logging.getLogger("ellora_trust.serving")
# Weight of the newest request in the average from which Retry-After is told.
RECENT = 0.2
LONGEST_WAIT = 60


class Ticket:
    """A request's place in the queue; what the worker tells of it crosses to the event loop here."""

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[TokenRead | None] = asyncio.Queue()
        self._gone = threading.Event()
        self.future: Future[list[Choice]] = Future()

    @property
    def gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._gone.is_set()

    def tell(self, event: TokenRead | None) -> None:
        """Pass an event on from any thread; None is the last one."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def close(self) -> None:
        """Nobody waits any more: leave the queue, or stop at the next token."""
        self._gone.set()
        if self.future.cancel():
            # The pool forgets a cancelled entry only when its turn comes; the prompt need not wait for that.
            self.job = None

    async def events(self) -> AsyncIterator[TokenRead]:
        """Yield tokens as they are read, until the work is done."""
        while (event := await self._events.get()) is not None:
            yield event

    def result(self) -> list[Choice]:
        """Return the finished answers, after the last event.

        Raises:
            Refusal: They failed; what is a bug is in the log.
        """
        if self.future.cancelled() or isinstance(self.future.exception(), HungUp):
            raise Refusal(503, "the server stops and answers nobody any more; ask another", code="stopping")
        error = self.future.exception()
        if error is None:
            return self.future.result()
        if not isinstance(error, InputError):
            LOG.error("a request failed", exc_info=error)
        raise Refusal.of(error)


class Worker:
    """One thread, first come, first served.

    Attributes:
        queue: Requests that may wait.
        seconds: Running average of how long one takes.
    """

    def __init__(self, work: Callable[[Job, Ticket], list[Choice]], *, queue: int):
        self._work, self.queue, self.seconds = work, queue, 1.0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._open: set[Ticket] = set()

    @property
    def busy(self) -> int:
        """Requests that the thread works on or that wait for it."""
        return len(self._open)

    @contextmanager
    def ticket(self, job: Job) -> Iterator[Ticket]:
        """Queue a job for as long as the `with` lasts.

        Raises:
            Refusal: 429, the queue is full.
        """
        if self.busy > self.queue:
            wait = min(max(math.ceil(self.seconds * self.busy), 1), LONGEST_WAIT)
            raise busy(f"{self.queue} requests wait for the model, as many as this server takes", wait)
        ticket = Ticket(job)
        self._open.add(ticket)
        ticket.future = self._pool.submit(self._timed, ticket)
        ticket.future.add_done_callback(lambda _: self._done(ticket))
        try:
            yield ticket
        finally:
            ticket.close()

    def _timed(self, ticket: Ticket) -> list[Choice]:
        assert ticket.job is not None, "only a cancelled ticket has none"
        start = time.monotonic()
        done = self._work(ticket.job, ticket)
        self.seconds += RECENT * (time.monotonic() - start - self.seconds)
        return done

    def _done(self, ticket: Ticket) -> None:
        # Runs in the worker's thread, or in the one that cancels; discarding from a set is atomic.
        self._open.discard(ticket)
        ticket.tell(None)

    def close(self) -> None:
        """Stop what runs, drop what waits, and end the thread."""
        for ticket in list(self._open):
            ticket.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
