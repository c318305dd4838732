"""Rule sets: proposed, approved by another person, activated; every refusal says why."""

import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

from events.decided import Plain, RuleProblem
from events.rules import Body
from orchestrator.core import backorders
from orchestrator.core.shard import Market
from orchestrator.core.sourcing.calendars import start_of
from orchestrator.core.sourcing.rule_checks import Known, check
from orchestrator.core.sourcing.strategies import (
    DEFAULT_VERSION,
    FAR,
    PoolRule,
    content_of,
    pools_of,
)
from orchestrator.core.turn import Turn

Status = Literal["proposed", "approved", "scheduled", "active", "superseded", "shadow"]
_SHOWN_CHARACTERS = 1_900  # of an exception's detail


def propose(turn: Turn) -> None:
    """Keep a version that is right in itself and in its market; it decides nothing yet."""
    market = _market(turn)
    if market is None:
        return
    version = turn.data["version"]
    known = market.rule_versions.get(version)
    if version == DEFAULT_VERSION:
        _refuse(turn, market, "proposed", "version", "is the built-in rule set: choose another")
    elif known is not None and known.content == content_of(turn.data):
        turn.repeat("state")
    elif known is not None:
        detail = f"{version} stands with other content, by {known.author}: choose another version"
        _refuse(turn, market, "proposed", "version", detail)
    else:
        _, problems = check(turn.data["body"], Known.of(market.node_list))
        if problems:
            at = [
                RuleProblem(path=f"body.{one['path']}", detail=one["detail"])
                if one["path"]
                else one
                for one in problems
            ]
            _refuse_all(turn, market, "proposed", at)
        else:
            _changed(turn, market, version, "proposed")


def approve(turn: Turn) -> None:
    """Somebody else than the author agrees."""
    market = _market(turn)
    if market is None:
        return
    version, approver = turn.data["version"], turn.data["approver"]
    known = market.rule_versions.get(version)
    if known is None:
        _refuse(turn, market, "approved", "version", _unknown(version))
    elif _same_person(known.author, approver):
        detail = f"{approver} wrote it: another person has to approve it"
        _refuse(turn, market, "approved", "approver", detail)
    elif known.status != "proposed":
        turn.repeat("state")
    else:
        _changed(turn, market, version, "approved")


def activate(turn: Turn) -> None:
    """Let an approved version decide, at once or from a time on; the latest activation counts."""
    market = _market(turn)
    if market is None:
        return
    version = turn.data["version"]
    known = market.rule_versions.get(version)
    if known is None:
        _refuse(turn, market, "activated", "version", _unknown(version))
        return
    if known.status == "proposed":
        detail = f"{version} is not approved: another person than {known.author} approves it first"
        _refuse(turn, market, "activated", "version", detail)
        return
    mode = turn.data.get("mode", "active")
    if mode != "active":
        _shade(turn, market, version, begins=mode == "shadow")
        return
    from_ms = _from_ms(market, turn.data)
    later = from_ms > turn.now_ms
    active = market.rules.version == version
    scheduled = market.rules_scheduled
    if (scheduled == (version, from_ms)) if later else (active and scheduled is None):
        turn.repeat("state")
        return
    if later and active:
        detail = f"{version} is active already: leave it, or activate another version"
        _refuse(turn, market, "activated", "from", detail)
        return
    _drop_schedule(turn, market)
    if later:
        _changed(turn, market, version, "scheduled", from_ms=from_ms)
    elif not active:
        _activate(turn, market, version)


def _shade(turn: Turn, market: Market, version: str, *, begins: bool) -> None:
    """Let a version decide beside the active one, or no longer. Nothing is decided otherwise."""
    status = market.rule_versions[version].status
    if "from" in turn.data:
        detail = "a shadow begins and ends at once: leave it out"
        _refuse(turn, market, "activated", "from", detail)
    elif begins and status in {"active", "scheduled"}:
        detail = f"{version} is {status}: it needs no shadow"
        _refuse(turn, market, "activated", "mode", detail)
    elif begins == (status == "shadow"):
        turn.repeat("state")
    elif not begins:
        _changed(turn, market, version, "approved")
    else:
        for other, known in market.rule_versions.items():
            if known.status == "shadow":
                _changed(turn, market, other, "approved")
        _changed(turn, market, version, "shadow")


def due(turn: Turn, market_id: str, version: str) -> None:
    """The time of a scheduled activation has come, unless a later one replaced it."""
    market = turn.shard.markets[market_id]
    scheduled = market.rules_scheduled
    if scheduled is not None and scheduled[0] == version and scheduled[1] <= turn.now_ms:
        _activate(turn, market, version)


def _market(turn: Turn) -> Market | None:
    """The market it concerns; parked until it is defined where there is none."""
    market_id = turn.data["market_id"]
    market = turn.shard.markets.get(market_id)
    if market is None:
        turn.emit({"type": "input_parked", "on": f"market:{market_id}"})
    return market


def _unknown(version: str) -> str:
    return f"{version} is not known: propose it first, and mend it where it was refused"


def _same_person(one: str, other: str) -> bool:
    def plain(name: str) -> str:  # without spaces, and what isn't seen at all
        seen = [one for one in name if unicodedata.category(one) != "Cf"]
        return "".join(unicodedata.normalize("NFKC", "".join(seen)).casefold().split())

    return plain(one) == plain(other)


def _from_ms(market: Market, data: Plain) -> int:
    """A day begins with its first moment, in the market's time zone."""
    text: str | None = data.get("from")
    return 0 if text is None else start_of(text, market.time_zone)


def _activate(turn: Turn, market: Market, version: str) -> None:
    before = market.rules.version
    if before in market.rule_versions:
        _changed(turn, market, before, "superseded")
    body = Body.model_validate(market.rule_versions[version].body)
    pools = pools_of(body, market.time_zone)
    ends = {pool.until_ms: None for pool in pools if turn.now_ms < pool.until_ms < FAR}
    more: dict[str, Any] = {"pools_end_ms": sorted(ends)} if ends else {}
    if anew := counted_anew(market, pools, turn.now_ms):
        more["pools_anew"] = anew
    _changed(turn, market, version, "active", **more)


def counted_anew(market: Market, pools: Sequence[PoolRule], now_ms: int) -> list[str]:
    """Pools of a version that don't go on with the count of the active one's of the same id.

    They are for another season: they haven't begun, or begin when that has ended.
    """
    ended = {pool.pool_id: pool.until_ms for pool in market.rules.pools}
    return [
        pool.pool_id
        for pool in pools
        if pool.pool_id in ended and (now_ms < pool.from_ms or ended[pool.pool_id] <= pool.from_ms)
    ]


def pools_end(turn: Turn, market_id: str, version: str) -> None:
    """A pool of a version ended: what it kept from others may serve who waits."""
    market = turn.shard.markets[market_id]
    if market.rules.version == version:
        backorders.queue_refill(turn, market)


def _drop_schedule(turn: Turn, market: Market) -> None:
    """A later activation replaces one that is still to come."""
    if market.rules_scheduled is not None:
        _changed(turn, market, market.rules_scheduled[0], "approved")


def _changed(turn: Turn, market: Market, version: str, status: Status, **more: Any) -> None:  # noqa: ANN401 - fields of the event
    turn.emit(
        {
            "type": "rule_set_changed",
            "market_id": market.market_id,
            "version": version,
            "status": status,
            **more,
        }
    )
    if status in {"proposed", "approved", "active"}:
        _resolve(turn, market, None if status == "active" else version, f"{version} is {status}")


def _refuse(
    turn: Turn,
    market: Market,
    asked: Literal["proposed", "approved", "activated"],
    path: str,
    detail: str,
) -> None:
    _refuse_all(turn, market, asked, [RuleProblem(path=path, detail=detail)])


def _refuse_all(
    turn: Turn,
    market: Market,
    asked: Literal["proposed", "approved", "activated"],
    problems: list[RuleProblem],
) -> None:
    """Say everything that is wrong, and open an exception in the place of an earlier one."""
    version = turn.data["version"]
    turn.emit(
        {
            "type": "rule_set_refused",
            "market_id": market.market_id,
            "version": version,
            "asked": asked,
            "problems": problems,
        }
    )
    _resolve(turn, market, version, "it was asked for again")
    sentences = "; ".join(
        f"{one['path']}: {one['detail']}" if one["path"] else one["detail"] for one in problems
    )
    detail = f"rule set {version} is not {asked}: {sentences}"
    if len(detail) > _SHOWN_CHARACTERS:
        detail = detail[:_SHOWN_CHARACTERS] + "…"
    turn.open_exception("rule_set", "medium", market.market_id, detail, rule_set=version)


def _resolve(turn: Turn, market: Market, version: str | None, detail: str) -> None:
    """Close what is open about this version, or about any."""
    for key, exception_id in list(turn.shard.exceptions.items()):
        kind, market_id, *_, about = key
        if kind == "rule_set" and market_id == market.market_id and version in {None, about}:
            turn.emit(
                {
                    "type": "exception_resolved",
                    "exception_id": exception_id,
                    "market_id": market_id,
                    "kind": "rule_set",
                    "detail": detail,
                    "rule_set": about,
                }
            )
