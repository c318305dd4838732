"""Answers as they look, for the OpenAPI document; a test holds them to the shapes."""

from typing import Any

Example = dict[str, Any]

_SUMMARY: Example = {
    "order_id": "4711",
    "channel": "web",
    "market_id": "us",
    "status": "shipped",
    "on_hold": False,
    "placed_at": "2026-11-22T10:00:00Z",
    "recorded_at": "2026-11-22T10:00:00.250Z",
    "currency": "USD",
}
_LINE: Example = {"line_id": "1", "sku": "MUG-BLUE", "quantity": 2}

ORDER: Example = {
    **_SUMMARY,
    "ship_to": {"city": "Cambridge", "region": "MA", "postal_code": "02139", "country": "US"},
    "promised_by": "2026-11-26T04:59:59Z",
    "promise": "open",
    "lines": [
        {
            **_LINE,
            "open": 0,
            "allocated": 0,
            "backordered": 0,
            "shipped": 2,
            "delivered": 0,
            "cancelled": 0,
            "unit_price_minor": 1999,
        }
    ],
    "fulfillments": [
        {
            "fulfillment_id": "web.4711.1",
            "node_id": "BOS",
            "status": "shipped",
            "request_status": "accepted",
            "requested_at": "2026-11-22T10:00:00.250Z",
            "ship_by": "2026-11-23T21:00:00Z",
            "deliver_by": "2026-11-26T04:59:59Z",
            "carrier": "ups",
            "service": "ground",
            "lines": [_LINE],
            "packages": [
                {
                    "package_id": "P1",
                    "carrier": "ups",
                    "service": "ground",
                    "tracking_number": "1Z999",
                    "status": "in_transit",
                    "status_at": "2026-11-23T18:00:00Z",
                    "shipped_at": "2026-11-23T15:00:00Z",
                }
            ],
        }
    ],
    "timeline": [
        {
            "at": "2026-11-22T10:00:00.250Z",
            "event": "order_accepted",
            "detail": "Accepted.",
            "position": "2.1042.0.0",
        }
    ],
}
ORDERS: Example = {"items": [_SUMMARY], "next": None}
_TWO: Example = {"line_id": "1", "sku": "MUG-BLUE", "units": 2}
_BOS: Example = {
    "node_id": "BOS",
    "value": 870,
    "cost_minor": 870,
    "costs": {"transport": 720, "handling": 150, "per_unit": 0, "late": 0, "load": 0, "price": 0},
    "distance_m": 4200,
    "ship_day": "2026-11-23",
    "deliver_day": "2026-11-25",
    "days_late": 0,
    "service": "ups/ground",
    "parcels": 1,
    "fences": [],
    "short": [],
}
_CHI: Example = {
    **_BOS,
    "node_id": "CHI",
    "value": 1110,
    "cost_minor": 1110,
    "costs": {**_BOS["costs"], "transport": 960},
    "distance_m": 1365000,
    "deliver_day": "2026-11-27",
}
_NYC: Example = {
    **_BOS,
    "node_id": "NYC",
    "value": 750,
    "cost_minor": 750,
    "costs": {**_BOS["costs"], "transport": 720, "handling": 30},
    "distance_m": 306000,
    "fences": ["nodes"],
}
DECISIONS: Example = {
    "items": [
        {
            "v": 2,
            "at": "2026-11-22T10:00:00.250Z",
            "position": "2.1042.0.2",
            "trigger": "order_placed",
            "rule_set": "7",
            "strategy": "everything",
            "why": ["channel is web"],
            "passed_over": [{"strategy": "vip", "because": "channel is not phone"}],
            "price_version": 0,
            "currency": "USD",
            "objective": ["cost"],
            "destination": {"located_by": "postal_code", "by": ["US", "02108"]},
            "promise": None,
            "own_promise": False,
            "service_level": "standard",
            "split": {
                "quantity": "when_short",
                "max_legs": None,
                "leg_min_value": None,
                "leg_min_units": None,
                "extra_leg": 0,
                "one_leg": False,
                "all_or_nothing": False,
            },
            "method": "exact",
            "lines": [
                {"line_id": "1", "sku": "MUG-BLUE", "wanted": 2, "target": 2, "promisable": 14}
            ],
            "sets": [{"lines": [_TWO], "nodes": [_BOS, _CHI, _NYC]}],
            "chosen": {
                "nodes": ["BOS"],
                "legs": [{"lines": [_TWO], **_BOS}],
                "units": 2,
                "value": 870,
                "cost_minor": 870,
                "costs": {**_BOS["costs"], "split": 0},
            },
            "runner_up": {
                "nodes": ["CHI"],
                "legs": [{"lines": [_TWO], **_CHI}],
                "units": 2,
                "value": 1110,
                "cost_minor": 1110,
                "costs": {**_CHI["costs"], "split": 0},
            },
            "rest": {
                "fences": {"does_not_ship": ["DEN"]},
                "short": ["LAX"],
                "few": [],
                "dearer": 0,
            },
            "decided_by": "value",
            "left_out": [],
            "unused": [],
            "counterfactual": {
                "lift_fence": {
                    "node_id": "NYC",
                    "fence": "nodes",
                    "criterion": "cost",
                    "by": 120,
                    "more_units": 0,
                    "plan": {
                        "legs": [{"node_id": "NYC", "lines": [_TWO]}],
                        "units": 2,
                        "value": 750,
                    },
                },
                "add_stock": None,
                "dearer": {
                    "node_id": "BOS",
                    "criterion": "cost",
                    "by": 241,
                    "more_units": 0,
                    "plan": {
                        "legs": [{"node_id": "CHI", "lines": [_TWO]}],
                        "units": 2,
                        "value": 1110,
                    },
                },
            },
            "fulfillments": [{"fulfillment_id": "web.4711.1", "node_id": "BOS", "lines": [_LINE]}],
            "backordered": [],
        }
    ],
    "next": None,
}
_UNITS: Example = {"on_hand": 5, "reserved": 2, "held": 0, "available": 3, "incoming": 0}
STOCK: Example = {
    "sku": "MUG-BLUE",
    "nodes": [
        {
            "node_id": "BOS",
            "market_id": "us",
            **_UNITS,
            "states": {"quality_control": 0, "damaged": 0, "held": 0},
        }
    ],
    "total": _UNITS,
}
NODES: Example = {
    "items": [
        {
            "node_id": "BOS",
            "market_id": "us",
            "kind": "warehouse",
            "name": "Boston DC",
            "address": {"country": "US", "region": "MA", "city": "Boston"},
            "location": {"lat": 42.36, "lon": -71.06},
            "active": True,
            "ships": True,
        }
    ],
    "next": None,
}
EXCEPTIONS: Example = {
    "items": [
        {
            "exception_id": "2-17",
            "kind": "stock_discrepancy",
            "severity": "high",
            "status": "open",
            "market_id": "us",
            "sku": "MUG-BLUE",
            "node_id": "BOS",
            "detail": "BOS counted 1 unit of MUG-BLUE, 2 are promised",
            "opened_at": "2026-11-22T10:05:00.000Z",
        }
    ],
    "next": None,
}
RULE_SET: Example = {
    "market_id": "us",
    "version": "7",
    "status": "active",
    "author": "Ann",
    "note": "the express service gets its own strategy",
    "proposed_at": "2026-11-22T10:00:00.000Z",
    "approver": "Bo",
    "approved_at": "2026-11-22T10:05:00.000Z",
    "active_from": "2026-11-22T10:06:00.000Z",
    "body": {"strategies": [{"name": "everything", "objective": "cost"}]},
    "refusals": [],
}
SHARDS: Example = {
    "items": [
        {
            "shard": 2,
            "owner": "engine-1",
            "epoch": 880,
            "seq": 1042,
            "journal_next": 1050,
            "inbox_next": 20417,
            "halted": None,
            "lag": 0,
        }
    ]
}
QUESTION: Example = {
    "market_id": "us",
    "channel": "web",
    "lines": [{"sku": "MUG-BLUE", "quantity": 2}],
    "ship_to": {"city": "Cambridge", "region": "MA", "postal_code": "02139", "country": "US"},
    "service_levels": ["standard", "expedited"],
}
_PROMISED: Example = {
    "service_level": "standard",
    "possible": True,
    "source": "now",
    "delivery_date": "2026-11-26",
    "deliver_by": "2026-11-27T04:59:59.000Z",
    "ship_by": "2026-11-23T21:00:00.000Z",
    "order_by": "2026-11-23T21:00:00.000Z",
    "days_late": 0,
    "cost_minor": 640,
    "cost": {
        "transport": 520,
        "handling": 120,
        "per_unit": 0,
        "late": 0,
        "load": 0,
        "price": 0,
        "split": 0,
    },
    "currency": "USD",
    "strategy": "default",
    "legs": [
        {
            "node_id": "BOS",
            "source": "now",
            "ship_date": "2026-11-23",
            "ship_by": "2026-11-23T21:00:00.000Z",
            "delivery_date": "2026-11-26",
            "deliver_by": "2026-11-27T04:59:59.000Z",
            "carrier": "ups",
            "service": "ground",
            "cost_minor": 640,
            "lines": [_LINE],
        }
    ],
    "missing": [],
    "because": None,
    "earlier": [
        {
            "how": "service_level",
            "detail": "by service level expedited, for 910 more",
            "delivery_date": "2026-11-24",
            "cost_minor": 1550,
        }
    ],
}
PROMISE: Example = {
    "market_id": "us",
    "channel": "web",
    "placed_at": "2026-11-22T10:00:00.250Z",
    "rule_set": "7",
    "promises": [_PROMISED],
}

KPIS: Example = {
    "items": [
        {
            "window": "hour",
            "window_start": "2026-11-22T09:31:00.000Z",
            "window_end": "2026-11-22T10:31:00.000Z",
            "market_id": "us",
            "node_id": "BOS",
            "counts": {
                "placed": 0,
                "refused": 0,
                "planned": 0,
                "allocated": 40,
                "split": 6,
                "backordered": 0,
                "units_wanted": 90,
                "units_found": 81,
                "cost_minor": 31200,
                "paid_minor": 29400,
                "first_planned": 0,
                "first_paid_minor": 0,
                "shipped": 37,
                "units_shipped": 81,
                "delivered": 20,
                "lead_ms": 3456000000,
                "due": 20,
                "on_time": 19,
                "promises_kept": 0,
                "promises_broken": 0,
                "exceptions": 1,
            },
            "rates": {
                "placed_per_minute": 0.0,
                "allocated_per_minute": 0.666667,
                "shipped_per_minute": 0.616667,
                "lead_time_s": 172800.0,
                "on_time_rate": 0.95,
                "fill_rate": 0.9,
                "split_rate": 0.15,
                "cost_per_plan_minor": 780.0,
            },
        }
    ],
    "complete_until": "2026-11-22T10:31:00.000Z",
    "orders_by_state": [
        {"market_id": "us", "channel": "web", "status": "shipped", "orders": 173},
    ],
    "fulfillments_by_state": [
        {
            "market_id": "us",
            "node_id": "BOS",
            "carrier": "ups",
            "status": "in_progress",
            "fulfillments": 12,
        },
    ],
}
