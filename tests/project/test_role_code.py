"""What ruff can't ban in role code, so that one seed is one run in the simulator."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROLE_CODE = sorted(
    path
    for folder in ("orchestrator/core", "orchestrator/runtime", "projections")
    for path in (ROOT / folder).rglob("*.py")
)


def _is_wait(node: ast.AST) -> bool:
    return isinstance(node, ast.Await) and ast.unparse(node.value).startswith("asyncio.wait(")


def _sets_of_wait_iterated(tree: ast.AST) -> Iterator[int]:
    """Lines that iterate a set that `asyncio.wait` returned: its order is that of addresses."""
    names = {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_wait(node.value)
        for name in ast.walk(node.targets[0])
        if isinstance(name, ast.Name)
    } - {"_"}
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            source = node.iter
            of_wait = isinstance(source, ast.Name) and source.id in names
            if of_wait or any(_is_wait(one) for one in ast.walk(source)):
                yield source.lineno


@pytest.mark.parametrize("path", ROLE_CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_role_code_runs_the_same_way_each_time(path: Path) -> None:
    source = path.read_text()
    assert list(_sets_of_wait_iterated(ast.parse(source))) == []
    assert "run_in_executor" not in source


def test_a_set_of_wait_that_is_iterated_is_seen() -> None:
    source = """
async def f(tasks):
    done, _ = await asyncio.wait(tasks)
    for one in done:
        one.result()
    return [one for one in (await asyncio.wait(tasks))[1]]
"""
    assert list(_sets_of_wait_iterated(ast.parse(source))) == [4, 6]
