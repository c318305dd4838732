"""The topic catalogue: the one source for topic creation, docs and the AsyncAPI document."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from schemas.ports import TopicDescription

FOREVER = {"retention.ms": "-1", "retention.bytes": "-1"}


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    `partitions` is "shards" where a partition is a shard, else the default count or 1.
    """

    name: str
    role: Literal["input", "output", "internal"]
    key: str
    what: str
    partitions: Literal["shards", "public", "one"] = "public"
    config: dict[str, str] = field(default_factory=dict)


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(
            "orders",
            "input",
            "order id",
            "What channels write: orders placed, cancellations asked for.",
        ),
        Topic(
            "stock", "input", "node id", "What nodes say: stock movements and fulfillment progress."
        ),
        Topic(
            "carriers",
            "input",
            "tracking number, or market/carrier",
            "What carriers say: tracking updates, lanes suspended and restored.",
        ),
        Topic(
            "network",
            "input",
            "<event>:<full id>",
            "Master data: markets, nodes, items, carrier services. Kept for ever.",
            "one",
            {"cleanup.policy": "delete", **FOREVER},
        ),
        Topic(
            "inbox",
            "internal",
            "none",
            "Canonical inputs, one total order a shard. Trimmed behind the journal, never by time.",
            "shards",
            {"cleanup.policy": "delete", **FOREVER},
        ),
        Topic(
            "journal",
            "internal",
            "none",
            "The book of record: commits of inputs and decided events."
            " Kept for ever, never compacted.",
            "shards",
            {"cleanup.policy": "delete", **FOREVER},
        ),
        Topic(
            "snapshots",
            "internal",
            "<shard>/<epoch>.<seq>/<chunk>",
            "The state of a shard at a confirmed position of its journal, in chunks; to open it"
            " faster. May be deleted at any time.",
            "shards",
            {
                "cleanup.policy": "compact,delete",
                "retention.ms": str(7 * 86_400_000),
                "segment.bytes": str(64 * 1_048_576),
                "min.cleanable.dirty.ratio": "0.2",
            },
        ),
        Topic(
            "voids",
            "internal",
            "shard",
            "Void lists: what of a journal doesn't count by a person's word, since it can't be read"
            " on. Kept for ever.",
            "one",
            {"cleanup.policy": "delete", **FOREVER},
        ),
        Topic(
            "fulfillment-commands",
            "output",
            "node id",
            "What nodes are asked to do: request, cancel.",
        ),
        Topic(
            "order-updates", "output", "order id", "What happens to orders, for channels and CRM."
        ),
        Topic(
            "availability",
            "output",
            "market/channel/node/sku",
            "Units that can be promised, when they cross a threshold."
            " Compacted: keep the highest position.",
            "public",
            {"cleanup.policy": "compact"},
        ),
        Topic("exceptions", "output", "exception id", "What doesn't add up: opened, resolved."),
        Topic(
            "history",
            "output",
            "order id, else sku, node id, market id, or shard/<number>",
            "Every input taken and every event decided, flat, one record each; and watermarks."
            " Kept for ever.",
            "public",
            {"cleanup.policy": "delete", **FOREVER},
        ),
        Topic(
            "kpi-parts",
            "internal",
            "part/<partition>/<minute>/<part>, or closed/<partition>",
            "What each partition of history adds to a minute's figures; role kpis merges it.",
            "one",
            {"cleanup.policy": "delete", "retention.ms": str(7 * 86_400_000)},
        ),
        Topic(
            "kpis",
            "output",
            "<window>/<market>[/<dimension>/<member>], or progress",
            "Live figures: the latest closed window of each market, channel, node and carrier."
            " Compacted: keep the latest window.",
            "one",
            {
                "cleanup.policy": "compact",
                "segment.bytes": str(16 * 1_048_576),
                "min.cleanable.dirty.ratio": "0.2",
            },
        ),
        Topic(
            "alerts",
            "output",
            "<rule>/<market>[/<dimension>/<member>]",
            "Figures that crossed a line: opened, closed. Compacted: keep the latest.",
            "one",
            {"cleanup.policy": "compact"},
        ),
        Topic(
            "rejected",
            "output",
            "the original key",
            "What intake could not take: the record unchanged, with the reason.",
            "public",
            {"max.message.bytes": str(2 * 1_048_576)},
        ),
    )
}

_KEPT = {
    "journal": "it is the only truth and is kept whole for ever",
    "inbox": "what intake took in stands there alone until its shard has decided it",
    "network": "where each market and node lives follows from all of it, for ever",
    "voids": "every reader of a journal goes by all of it, for ever",
}
_MAJORITY = 2


def endangered(topics: Mapping[str, TopicDescription], *names: str) -> str | None:
    """Why the broker may shorten, thin out or lose the first of these topics, and the fix.

    None where it may do so to none. `topics`: what the broker says; a setting that it doesn't tell
    is taken to be right, and a topic that it doesn't have is passed over.
    """
    for name in [one for one in names if one in topics]:
        _, replication, config = topics[name]
        wanted = {"cleanup.policy": "delete", **FOREVER}
        if replication > 1:
            wanted["unclean.leader.election.enable"] = "false"
        for setting, value in wanted.items():
            if config.get(setting, value) != value:
                return (
                    f"the topic {name} has {setting}={config[setting]}: {_KEPT[name]}, so set it"
                    f" to {value}"
                )
        if replication > _MAJORITY > int(config.get("min.insync.replicas", _MAJORITY)):
            return (
                f"the topic {name} has min.insync.replicas=1: one lost disk would lose what was"
                " acknowledged, so set it to 2"
            )
    return None


TOPIC_DEFAULTS = {"message.timestamp.type": "LogAppendTime"}
"""Settings of every topic: a record's time is when the broker took it."""
