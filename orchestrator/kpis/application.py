"""The Faust application of role `kpis`: the only module that knows Faust.

Faust shares the partitions out and hands the records over. It is not relied on for more: it commits
what a raising handler took, and seeks to its own offsets after every rebalance. So it commits none;
the worker says which offset each stream takes next, and a task seeks where another comes. Faust's
tables, producer, web server and leader are not used.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterable, Coroutine, Generator, Sequence
from contextlib import suppress
from typing import Any, Final

import faust
import structlog
from faust.transport.drivers import aiokafka as kafka_driver
from mode.services import WaitResults

from orchestrator.kpis.alerts import Rule
from orchestrator.kpis.worker import HISTORY, PARTS, Worker
from orchestrator.runtime import metrics
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from schemas.ports import Clock, LogError, Partition

_SESSION_S: Final = 10.0
"""With Faust's own 60 s a restart after SIGKILL would wait a minute for its partitions."""
_HEARTBEAT_S: Final = 3.0
_TEND_S: Final = 0.25
_HELD_TICKS: Final = 2
_MAX_BATCH: Final = 500
"""Records that Faust takes from its consumer at once."""
_STOP_S: Final = 4.0
_PAUSE_S: Final = 1.0

_log = structlog.get_logger(__name__)


class _Silent(faust.Monitor):
    """Measures nothing of each event: the role has metrics of its own."""

    logger = logging.getLogger("faust.sensors")

    def on_message_in(self, *_: Any) -> None:  # noqa: ANN401 - as in the base
        return

    def on_message_out(self, *_: Any) -> None:  # noqa: ANN401 - as in the base
        return

    def on_stream_event_in(self, *_: Any) -> None:  # noqa: ANN401 - as in the base
        return

    def on_stream_event_out(self, *_: Any) -> None:  # noqa: ANN401 - as in the base
        return

    def track_tp_end_offset(self, *_: Any) -> None:  # noqa: ANN401 - as in the base
        return


class Begun:
    """A coroutine that was begun, and waits for something."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> None:  # noqa: ANN401 - as asyncio has it
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        waits_for = self._waits_for
        try:
            while True:
                try:
                    got = yield waits_for
                except BaseException as error:  # noqa: BLE001 - handed on
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(got)
        except StopIteration as done:
            return done.value


class _Consumer(kafka_driver.Consumer):
    """Hands a record over at once where nobody has to be waited for.

    Faust makes four tasks for each, to stop waiting when partitions are shared out anew.
    """

    async def wait_first(self, *waited: Any, **limits: Any) -> Any:  # noqa: ANN401 - as in the base
        handing, *others = waited
        if others and asyncio.iscoroutine(handing):
            try:
                waits_for = handing.send(None)
            except StopIteration as done:
                for other in others:
                    other.close()
                return WaitResults([handing], [done.value], stopped=False)
            waited = (Begun(handing, waits_for), *others)
        return await super().wait_first(*waited, **limits)


class _Transport(kafka_driver.Transport):
    Consumer = _Consumer


class _App(faust.App):
    def _create_directories(self) -> None:
        """Make none: nothing is kept in files, and where a service stands it may not write."""


def application(kafka: KafkaSettings, group_id: str) -> faust.App:
    """An app that reads bytes, and starts nothing that the role doesn't need."""
    app = _App(
        group_id,
        broker=";".join(f"kafka://{one.strip()}" for one in kafka.servers.split(",")),
        broker_credentials=_credentials(kafka),
        broker_session_timeout=_SESSION_S,
        broker_heartbeat_interval=_HEARTBEAT_S,
        broker_max_poll_records=_MAX_BATCH,
        broker_request_timeout=max(kafka.request_timeout_s, _SESSION_S + 1),
        consumer_auto_offset_reset="earliest",  # where it begins doesn't matter: it is sought
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        Monitor=_Silent,
        autodiscover=False,
    )
    app.transport = _Transport(app.conf.broker_consumer, app)
    return app


def _credentials(kafka: KafkaSettings) -> Any:  # noqa: ANN401 - one of Faust's classes, or none
    given = kafka.client()
    match kafka.security_protocol:
        case "PLAINTEXT":
            return None
        case "SSL":
            return faust.SSLCredentials(given["ssl_context"])
        case _:
            return faust.SASLCredentials(
                mechanism=kafka.sasl_mechanism,
                username=kafka.sasl_username,
                password=kafka.sasl_password,
                ssl_context=given["ssl_context"],
            )


class Kpis:
    """The role: begins anew, in a moment, whenever Faust crashes."""

    def __init__(
        self,
        *,
        log: KafkaLog,
        clock: Clock,
        rules: Sequence[Rule],
        partitions: int,
        hours_back: int | None,
    ) -> None:
        self._log = log
        self._clock = clock
        self._rules = rules
        self._partitions = partitions
        self._hours_back = hours_back
        self._worker: Worker | None = None
        self._running: _Running | None = None
        for library in ("faust", "mode"):
            logging.getLogger(library).setLevel(logging.ERROR)

    def state(self) -> str:
        """Open once Faust has started; of no partition, where others have them all."""
        return "open" if self._running is not None and self._running.started else "opening"

    def states(self) -> dict[int, str]:
        """Of each partition of history that is counted here: opening, open."""
        if self._worker is None:
            return {}
        return {
            one.number: "opening" if stream.astray else "open"
            for one, stream in self._worker.streams.items()
            if one != PARTS
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Count, merge and publish until told to stop."""
        while not stop.is_set():
            worker = Worker(
                log=self._log,
                clock=self._clock,
                rules=self._rules,
                partitions=self._partitions,
                hours_back=self._hours_back,
            )
            self._worker = worker
            self._running = running = _Running(self._log, worker)
            try:
                await running.until(stop)
            except Exception:  # noqa: BLE001 - whatever Faust raises: nothing depends on it
                _log.exception("Faust does not start")
            finally:
                self._worker = self._running = None
                await running.close()
                await worker.close()
            if not stop.is_set():
                metrics.KPI_RESTARTS.inc()
                _log.warning("begins anew in a moment", what=repr(running.app.crash_reason))
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE_S):
                        await stop.wait()


class _Running:
    """An app and its worker, from start to stop or crash."""

    def __init__(self, log: KafkaLog, worker: Worker) -> None:
        self.started = False
        self.app = app = application(log.settings, log.group_id("kpis"))
        self._prefix = log.settings.prefix
        self._held: dict[Partition, int] = {}  # paused before a seek: for how many looks
        self._worker = worker
        history, parts = (
            app.topic(self._prefix + name, value_type=bytes, value_serializer="raw", acks=False)
            for name in (HISTORY, PARTS.topic)
        )

        @app.agent(history, name="count", concurrency=1)
        async def count(stream: AsyncIterable[Any]) -> None:
            waiting = stream.channel.queue  # type: ignore[attr-defined]  # it is a faust.Stream
            async for event in stream.events():  # type: ignore[attr-defined]  # the same
                counted = Counter([await take(event)])
                while not waiting.empty():  # a stream takes longer over one than counting does
                    counted[await take(waiting.get_nowait())] += 1
                for partition, records in counted.items():
                    metrics.KPI_RECORDS.labels(str(partition)).inc(records)

        async def take(event: Any) -> int:  # noqa: ANN401 - one of Faust's
            message = event.message
            await worker.take_history(message.partition, message.offset, message.value)
            return int(message.partition)

        @app.agent(parts, name="merge", concurrency=1)
        async def merge(stream: AsyncIterable[Any]) -> None:
            async for event in stream.events():  # type: ignore[attr-defined]  # it is a faust.Stream
                await worker.take_parts(event.message.offset, event.message.value)

        @app.task  # type: ignore[untyped-decorator]
        async def tend() -> None:
            await app.tables.recovery.completed.wait()  # type: ignore[attr-defined]
            generation = app.consumer_generation_id
            while True:
                if app.consumer_generation_id != generation:
                    generation = app.consumer_generation_id
                    worker.rebalanced()
                if not app.rebalancing:
                    try:
                        await self._tend()
                    except LogError as error:
                        _log.warning("looks again in a moment", what=str(error))
                    except Exception:  # noqa: BLE001 - without it nothing is sought any more
                        _log.exception("looks again in a moment")
                await asyncio.sleep(_TEND_S)

    async def until(self, stop: asyncio.Event) -> None:
        """Run until told to stop, or crashed."""
        await self.app.start()
        self.started = True
        while not stop.is_set() and not self.app.should_stop:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TEND_S):
                    await stop.wait()

    async def close(self) -> None:
        """Stop the app; where that takes long it is left behind."""
        stopping = asyncio.create_task(self.app.stop(), name="stop faust")
        await asyncio.wait([stopping], timeout=_STOP_S)
        if not stopping.done():
            _log.warning("Faust does not stop in time: it is left behind")
            stopping.cancel()

    async def _tend(self) -> None:
        """Work on what is assigned; seek what went astray; say how far behind it is.

        A seek is lost where Faust is handing over a batch that it had fetched before: it then takes
        what comes from the seek for old, and drops it. So a partition is first paused, until no
        such batch can be on its way. A seek that is lost all the same is made again.
        """
        consumer = self.app.consumer
        worker = self._worker
        of = {
            Partition(tp.topic.removeprefix(self._prefix), tp.partition): tp
            for tp in consumer.assignment()
        }
        await worker.assign(of)
        self._held = {one: ticks + 1 for one, ticks in self._held.items() if one in worker.streams}
        for partition in [one for one, ticks in self._held.items() if ticks >= _HELD_TICKS]:
            del self._held[partition]
            await consumer.seek(of[partition], worker.next(partition))
            worker.sought(partition)
            consumer.resume_partitions({of[partition]})
        for partition in worker.astray():
            if partition not in self._held:
                consumer.pause_partitions({of[partition]})
                self._held[partition] = 0
        worker.observe({partition: consumer.highwater(tp) for partition, tp in of.items()})
