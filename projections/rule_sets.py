"""Rule sets: every version, how far it is and by whom, and what was refused about it."""

import orjson

from events.decided import InputRecord, Plain
from projections.at import At
from projections.tables import (
    RULE_SET_ACTIVATION,
    RULE_SET_ACTIVE,
    RULE_SET_APPROVAL,
    RULE_SET_REFUSALS,
    RULE_SET_STATUS,
    RULE_SET_SUPERSEDED,
    RULE_SETS,
    Changes,
)
from schemas.times import rfc3339

_SAID = {
    "rule_set_proposed": ("author", "note"),
    "rule_set_approved": ("approver", "note"),
    "rule_set_activated": ("activated_by", "note"),
}


def _said(cause: InputRecord) -> str:
    data = cause["data"]
    return orjson.dumps(
        {name: data[name] for name in _SAID[cause["type"]] if name in data}
    ).decode()


def changed(changes: Changes, at: At, cause: InputRecord, event: Plain) -> None:
    """`rule_set_changed`: a version stands so from now on."""
    key = (event["market_id"], event["version"])
    status = event["status"]
    if status == "proposed":
        given = cause["data"]
        data = {name: given[name] for name in ("author", "note", "body") if name in given}
        text = orjson.dumps(data).decode()
        changes.put(RULE_SETS, [*key, status, None, None, None, None, None, at.time, text])
        return
    changes.patch(RULE_SET_STATUS, key, (status,))
    if status == "approved" and cause["type"] == "rule_set_approved":
        changes.patch(RULE_SET_APPROVAL, key, (at.time, _said(cause)))
    elif status == "approved":
        if "mode" not in cause["data"]:  # a later activation replaced the one that was to come
            changes.patch(RULE_SET_ACTIVE, key, (None,))
    elif status == "shadow":
        pass  # it decides nothing
    elif status == "superseded":
        changes.patch(RULE_SET_SUPERSEDED, key, (at.time,))
    else:
        from_ms = event.get("from_ms")
        changes.patch(RULE_SET_ACTIVE, key, (rfc3339(from_ms) if from_ms else at.time,))
        changes.patch(RULE_SET_SUPERSEDED, key, (None,))
        if cause["type"] == "rule_set_activated":
            changes.patch(RULE_SET_ACTIVATION, key, (_said(cause),))


def refused(changes: Changes, at: At, cause: InputRecord, event: Plain) -> None:
    """`rule_set_refused`: nothing changed, and why."""
    by = {"proposed": "author", "approved": "approver", "activated": "activated_by"}[event["asked"]]
    data = {
        "position": f"{at.shard}.{at.seq}.{at.entry}.{at.n}",
        "asked": event["asked"],
        "by": cause["data"].get(by),
        "problems": event["problems"],
    }
    row = [event["market_id"], event["version"], at.seq, at.entry, at.n, at.time]
    changes.add(RULE_SET_REFUSALS, [*row, orjson.dumps(data).decode()])


ON = {"rule_set_changed": changed, "rule_set_refused": refused}
