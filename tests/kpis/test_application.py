"""What of Faust is gone round: coroutines begun before a task is made of them; its folders."""

import asyncio
import subprocess
import sys

import pytest

from orchestrator.kpis.application import Begun


async def test_what_is_begun_goes_on_where_it_waits() -> None:
    steps = [asyncio.get_running_loop().create_future() for _ in range(2)]

    async def adds() -> int:
        await asyncio.sleep(0)
        return int(await steps[0]) + int(await steps[1])

    coroutine = adds()
    going_on = asyncio.ensure_future(Begun(coroutine, coroutine.send(None)))
    for step in steps:
        await asyncio.sleep(0)
        step.set_result(2)
    assert await going_on == 4


async def test_what_is_begun_can_be_ended_and_fail() -> None:
    ended: list[str] = []

    async def waits(for_what: asyncio.Future[None]) -> None:
        try:
            await for_what
        except BaseException as error:
            ended.append(type(error).__name__)
            raise

    for error in (asyncio.CancelledError(), ValueError()):
        future = asyncio.get_running_loop().create_future()
        coroutine = waits(future)
        going_on = asyncio.ensure_future(Begun(coroutine, coroutine.send(None)))
        await asyncio.sleep(0)
        if isinstance(error, ValueError):
            future.set_exception(error)
        else:
            going_on.cancel()
        with pytest.raises(type(error)):
            await going_on
    assert ended == ["CancelledError", "ValueError"]


NOT_READY = """
import asyncio, os
from prometheus_client import REGISTRY
from orchestrator.compose import Roles
from orchestrator.kpis.application import Kpis
from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from orchestrator.runtime.world import SystemClock

async def main():
    log = KafkaLog(KafkaSettings("127.0.0.1:1"), None)
    kpis = Kpis(log=log, clock=SystemClock(), rules=[], partitions=1, hours_back=None)
    here, stop = Roles(), asyncio.Event()
    here.states["kpis"], here.state["kpis"] = kpis.states, kpis.state
    here.running["kpis"] = asyncio.create_task(kpis.run(stop))
    while not REGISTRY.get_sample_value("headrace_kpi_restarts_total"):
        await asyncio.sleep(0.01)
    print(here.health())
    stop.set()
    await here.running["kpis"]

os.chdir("/proc")
asyncio.run(main())
"""


@pytest.mark.slow
def test_where_nobody_may_make_a_folder_it_comes_to_the_broker_and_is_not_ready_without() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOT_READY], capture_output=True, text=True, check=True, timeout=60
    )
    assert "KafkaConnectionError" in done.stdout, done.stderr
    assert "FileNotFoundError" not in done.stdout
    assert "(False, {'kpis': {'running': True, 'state': 'opening'}})" in done.stdout
