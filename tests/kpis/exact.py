"""Live figures by SQL over an export of the journal: what the role has to publish, to the unit."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from orchestrator.export.ask import ask, opened

_MINUTE: Final = "epoch_ms(date_trunc('minute', recorded_at)) AS minute"
_ENVELOPE: Final = f"{_MINUTE}, market_id, channel"
# Of an order the first decision with a leg: rows come in the order in which they were decided.
_FIRST: Final = """(shard, seq, entry, n) IN (
      SELECT min((shard, seq, entry, n)) FROM decisions
      WHERE legs > 0 GROUP BY market_id, channel, order_id)"""
_PAID: Final = "(chosen.transport_minor + chosen.handling_minor + chosen.per_unit_minor)"
_UNITS: Final = "list_sum(list_transform(lines, lambda x: x.quantity))"

# Of each row: whom it is about, and what it counts there. `part` is true of what only counts at a
# node or carrier, false of what only counts elsewhere, null of what counts wherever it is named.
_COUNTED: Final = f"""
WITH sent AS (
  SELECT fulfillment_id, any_value(packages[1].carrier) AS gave FROM events.shipment_sent
  GROUP BY fulfillment_id
), arrived AS (
  SELECT * FROM events.shipment_delivered JOIN sent USING (fulfillment_id)
), plans AS (  -- one that is told in several rows counts with the last, each leg where it is told
  SELECT d.*, a.recorded_at, a.cause_position, a.backordered,
    a.decision.lines AS lines, a.decision.chosen AS chosen, d.nodes_later IS NULL AS whole,
    list_concat(d.nodes, d.nodes_later) AS all_nodes,
    CASE WHEN len(d.nodes_later) = 1 THEN d.nodes_later[1] END AS alone
  FROM decisions d JOIN events.order_allocated a USING (position)
), rows AS (
  SELECT {_ENVELOPE}, NULL AS node_id, NULL AS carrier, NULL AS part, 'placed' AS name, 1 AS number
    FROM events.order_accepted
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, unnest(['placed', 'refused']), 1
    FROM events.order_refused WHERE NOT conflict
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, 'planned', 1 FROM plans WHERE whole
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, 'allocated', 1 FROM plans WHERE whole AND legs > 0
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, 'split', 1
    FROM plans WHERE (whole AND legs > 1) OR alone IS NOT NULL
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, 'backordered', 1
    FROM plans WHERE whole AND len(backordered) > 0
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, 'units_wanted',
    list_sum(list_transform(lines, lambda x: x.wanted)) - coalesce(chosen.units - units, 0)
    FROM plans
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, 'units_found', coalesce(units, 0) FROM plans
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, 'cost_minor', coalesce(cost_minor, 0) FROM plans
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, 'first_planned', 1 FROM plans WHERE {_FIRST}
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, 'first_paid_minor', {_PAID}
    FROM plans WHERE {_FIRST}
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, 'paid_minor', coalesce(paid_minor, 0) FROM plans
  UNION ALL SELECT {_ENVELOPE}, unnest(nodes), NULL, true, 'allocated', 1 FROM plans
  UNION ALL SELECT {_ENVELOPE}, unnest(nodes), NULL, true, 'split', 1
    FROM plans WHERE len(all_nodes) > 1
  UNION ALL SELECT {_ENVELOPE}, alone, NULL, true, 'split', 1 FROM plans WHERE alone IS NOT NULL
  UNION ALL SELECT {_ENVELOPE}, NULL, carrier, true, 'allocated', 1
    FROM events.fulfillment_requested
  UNION ALL SELECT f.minute, f.market_id, f.channel, NULL, f.carrier, true, 'split', 1
    FROM (SELECT *, {_MINUTE} FROM events.fulfillment_requested) f
    JOIN plans p USING (shard, seq, entry, order_id, cause_position)
    WHERE len(p.all_nodes) > 1 AND list_contains(p.nodes, f.node_id)
  UNION ALL SELECT {_ENVELOPE}, NULL, split_part(c.service, '/', 1), true, 'split', 1
    FROM (SELECT p.*, list_filter(a.decision.candidates, lambda x: x.node_id = p.alone)[1] AS c
          FROM plans p JOIN events.order_allocated a USING (position) WHERE alone IS NOT NULL)
  UNION ALL SELECT {_ENVELOPE}, node_id, packages[1].carrier, NULL, 'shipped', 1
    FROM events.shipment_sent
  UNION ALL SELECT {_ENVELOPE}, node_id, packages[1].carrier, NULL, 'units_shipped', {_UNITS}
    FROM events.shipment_sent
  UNION ALL SELECT {_ENVELOPE}, node_id, packages[1].carrier, true,
    unnest(['units_wanted', 'units_found']), {_UNITS} FROM events.shipment_sent
  UNION ALL SELECT {_ENVELOPE}, node_id, carrier, true, 'units_wanted', {_UNITS}
    FROM events.units_released WHERE why = 'rejected'
  UNION ALL SELECT {_ENVELOPE}, node_id, gave, NULL, 'delivered', 1
    FROM arrived
  UNION ALL SELECT {_ENVELOPE}, node_id, gave, NULL, 'lead_ms',
    epoch_ms(delivered_at) - epoch_ms(placed_at) FROM arrived
  UNION ALL SELECT {_ENVELOPE}, node_id, gave, NULL, 'due', 1
    FROM arrived WHERE promised_by IS NOT NULL
  UNION ALL SELECT {_ENVELOPE}, node_id, gave, NULL, 'on_time', 1
    FROM arrived WHERE delivered_at <= promised_by
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, 'promises_kept', 1 FROM events.promise_kept
  UNION ALL SELECT {_ENVELOPE}, NULL, NULL, NULL, 'promises_broken', 1 FROM events.promise_broken
  UNION ALL SELECT {_ENVELOPE}, node_id, carrier, NULL, 'exceptions', 1 FROM events.exception_opened
)
SELECT market_id AS scope, minute, name, sum(number) FROM rows WHERE part IS NULL GROUP BY ALL
UNION ALL SELECT market_id || '/channel/' || channel, minute, name, sum(number) FROM rows
  WHERE part IS NULL AND channel IS NOT NULL GROUP BY ALL
UNION ALL SELECT market_id || '/node/' || node_id, minute, name, sum(number) FROM rows
  WHERE node_id IS NOT NULL GROUP BY ALL
UNION ALL SELECT market_id || '/carrier/' || carrier, minute, name, sum(number) FROM rows
  WHERE carrier IS NOT NULL GROUP BY ALL
"""  # noqa: S608 - constants

_LEGS_COST: Final = """
SELECT epoch_ms(date_trunc('minute', decided_at)) AS minute,
  sum(cost_minor - coalesce(split_minor, 0))
FROM decisions WHERE legs > 0 GROUP BY ALL
"""

Counts = dict[str, int]


class Exact:
    """Counts by scope and minute (its beginning, in ms), without the zeros."""

    def __init__(self, export: Path) -> None:
        self.minutes: dict[str, dict[int, Counts]] = defaultdict(lambda: defaultdict(dict))
        with opened(export) as connection:
            for scope, minute, name, number in ask(connection, _COUNTED)[1]:
                self.minutes[scope][minute][name] = int(number)
            self.legs_cost = {minute: int(cost) for minute, cost in ask(connection, _LEGS_COST)[1]}

    def hour(self, scope: str, end_ms: int) -> Counts:
        """The sums of the 60 minutes before a moment."""
        total: Counts = defaultdict(int)
        for minute, counts in self.minutes[scope].items():
            if end_ms - 3_600_000 <= minute < end_ms:
                for name, number in counts.items():
                    total[name] += number
        return dict(total)

    def windows(self, until_ms: int) -> Iterator[tuple[str, str, int, Counts]]:
        """Window, scope, end and counts of all that is to be published, the last zeros too."""
        for scope, minutes in self.minutes.items():
            ends = {
                minute + after * 60_000
                for minute in minutes
                for after in range(1, 62)  # 61: told once more, with zeros
            }
            for end_ms in sorted(one for one in ends if one <= until_ms):
                yield "minute", scope, end_ms, minutes.get(end_ms - 60_000, {})
                yield "hour", scope, end_ms, self.hour(scope, end_ms)


def rates(counts: Counts, minutes: int) -> dict[str, Any]:
    """The rates by their definitions in the glossary."""
    of = defaultdict(int, counts)

    def ratio(above: str, *below: str, scale: float = 1) -> float | None:
        under = sum(of[name] for name in below)
        return of[above] / scale / under if under else None

    found = {
        f"{name}_per_minute": of[name] / minutes for name in ("placed", "allocated", "shipped")
    }
    return found | {
        "lead_time_s": ratio("lead_ms", "delivered", scale=1000),
        "on_time_rate": ratio("on_time", "due"),
        "fill_rate": ratio("units_found", "units_wanted"),
        "backorder_rate": ratio("backordered", "planned"),
        "split_rate": ratio("split", "allocated"),
        "cost_per_plan_minor": ratio("cost_minor", "allocated"),
        "cost_per_order_minor": ratio("first_paid_minor", "first_planned"),
        "promises_kept_rate": ratio("promises_kept", "promises_kept", "promises_broken"),
    }
