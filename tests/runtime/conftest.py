from tests.leaping import Loops, leaping


def pytest_asyncio_loop_factories() -> Loops:
    """Nobody waits here: all is in memory."""
    return leaping()
