"""The inbox's records: canonical inputs, one total order a shard."""

from typing import Any, Final, cast

import orjson

from events.decided import InputRecord, Plain

MAX_INPUT_BYTES = 180_000
"""The largest input intake takes: an order of 1,000 full lines, well below a commit's limit."""


SKIP_ORDERED = "skip_ordered"
"""A person's order to pass over the input that a shard halts at: `{input, reason, by}`."""
RENEWAL_ORDERED = "renewal_ordered"
"""A person's word that an input topic was made anew: `{topic, reason, by}`."""
ORDERS_SOURCE = "headrace-operator"


class TopicMadeAnew(Exception):
    """An input topic was deleted and created again under its name: its offsets mean other records.

    The shard halts until a person says that the topic has a new life.
    """

    def __init__(self, topic: str, why: str) -> None:
        super().__init__(
            f"the topic {topic} was made anew: {why}. If that is so, accept its new life with"
            f" `headrace topics accept {topic} --reason TEXT --by NAME`"
        )
        self.topic = topic


def encode(
    *,
    type_: str,
    version: int,
    id_: str,
    source: str,
    time_ms: int,
    origin: tuple[str, int, int, int],
    data: bytes,
) -> bytes:
    """An inbox record; `data` is canonical JSON already and is taken over as it is."""
    return orjson.dumps(
        {
            "type": type_,
            "version": version,
            "id": id_,
            "source": source,
            "time_ms": time_ms,
            "origin": origin,
            "data": orjson.Fragment(data),
        }
    )


def encode_order(type_: str, id_: str, time_ms: int, data: Plain) -> bytes:
    """A person's order to the shard, which stands in its inbox like an input; without origin."""
    return orjson.dumps(
        {
            "type": type_,
            "version": 1,
            "id": id_,
            "source": ORDERS_SOURCE,
            "time_ms": time_ms,
            "data": data,
        }
    )


def decode(value: bytes) -> InputRecord:
    """The input of an inbox record; ValueError where it is none, whoever wrote it."""
    record: Any = orjson.loads(value)
    if type(record) is not dict:
        raise ValueError("no JSON object")
    for name, kind in _FIELDS.items():
        if type(record.get(name)) is not kind:
            raise ValueError(f"{name} must be of the type {kind.__name__}")
    if "origin" in record and not _is_origin(record["origin"]):
        raise ValueError("origin must be a topic, a partition, an offset and a time in ms")
    return cast("InputRecord", record)


def _is_origin(origin: Any) -> bool:  # noqa: ANN401 - JSON
    return (
        type(origin) is list
        and [type(one) for one in origin] == _ORIGIN
        and len(origin[0]) <= _MAX_TOPIC_NAME
    )


_FIELDS: Final = {
    "type": str,
    "version": int,
    "id": str,
    "source": str,
    "time_ms": int,
    "data": dict,
}
_ORIGIN: Final = [str, int, int, int]
_MAX_TOPIC_NAME: Final = 249  # Kafka's
