"""Every setting, in one model: variables `HEADRACE_*`; the reference page is generated from it."""

import re
from typing import Annotated, Final, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "HEADRACE_"
_SERVER: Final = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:,/\[\]]+)(?::(\d{1,5}))?", re.ASCII)
_MAX_PORT: Final = 65_535


class SetupError(Exception):
    """Something that Headrace needs is missing, unreachable or otherwise than configured.

    The message says what to do. `exit_code` is 2 for wrong settings, 3 for servers, 1 else.
    """

    def __init__(self, message: str, exit_code: int = 3) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Settings(BaseSettings):
    """What may be configured. Units stand at the ends of names."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    kafka: Annotated[
        str | None,
        Field(description="Kafka's bootstrap servers, `host:port,host:port`."),
    ] = None
    postgres: Annotated[
        str | None,
        Field(description="PostgreSQL, as a libpq URL: `postgresql://user:password@host/name`."),
    ] = None
    prefix: Annotated[
        str,
        Field(
            pattern=r"^[a-zA-Z0-9._-]{0,64}$",
            description="Put before every topic name and consumer group.",
        ),
    ] = ""
    db_schema: Annotated[
        str,
        Field(
            pattern=r"^[a-z_][a-z0-9_]{0,40}$",
            description="The PostgreSQL schema of the read model.",
        ),
    ] = "headrace"
    shards: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="Partitions of `inbox` and `journal`. Fixed when the topics are created.",
        ),
    ] = 4
    partitions: Annotated[
        PositiveInt,
        Field(
            description="Partitions of every public topic but `network`. "
            "Fixed when the topics are created."
        ),
    ] = 4
    replication: Annotated[
        int,
        Field(
            ge=1,
            le=9,
            description="Replicas of each topic, when it is created; "
            "fewer where there are fewer brokers.",
        ),
    ] = 3
    http: Annotated[
        str,
        Field(
            pattern=r"^.+:\d{1,5}$",
            description="Where every process serves `/metrics` and `/health/*`, and role `api` "
            "the rest. There is no authentication yet: keep it on the loopback address.",
        ),
    ] = "127.0.0.1:8080"
    log: Annotated[
        Literal["console", "json"], Field(description="The form of log lines, on standard error.")
    ] = "console"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="The least important log lines that are written."),
    ] = "info"

    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Field(description="Kafka's `security.protocol`."),
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
        Field(description="Kafka's `sasl.mechanism`."),
    ] = "PLAIN"
    kafka_sasl_username: Annotated[str | None, Field(description="User of SASL.")] = None
    kafka_sasl_password: Annotated[SecretStr | None, Field(description="Password of SASL.")] = None
    kafka_ssl_ca_file: Annotated[
        str | None, Field(description="Certificates to trust (PEM); without it the system's.")
    ] = None
    kafka_ssl_certificate_file: Annotated[
        str | None, Field(description="The client's certificate (PEM), where brokers ask for one.")
    ] = None
    kafka_ssl_key_file: Annotated[
        str | None, Field(description="The private key of the client's certificate (PEM).")
    ] = None
    kafka_request_timeout_seconds: Annotated[
        PositiveFloat,
        Field(
            description="How long a broker may take to answer. "
            "Keep it above the time of a failover. Reads go to another broker after 5."
        ),
    ] = 15.0
    kafka_fetch_wait_ms: Annotated[
        PositiveInt,
        Field(
            description="How long a broker may hold back an empty answer: 500 for Apache Kafka, "
            "which wakes when a record arrives; 10 for Tansu, which does not."
        ),
    ] = 500

    unknown_fields: Annotated[
        Literal["refuse", "ignore"],
        Field(
            description="What intake does with fields that it does not know: `ignore` is meant for "
            "rolling upgrades of producers."
        ),
    ] = "refuse"
    network_wait_seconds: Annotated[
        PositiveFloat,
        Field(
            description="How long after its arrival a record may wait for the market or node "
            "that it names, before it is rejected."
        ),
    ] = 10.0

    order_wait_seconds: Annotated[
        PositiveInt,
        Field(description="How long an order waits for items that are not defined yet."),
    ] = 60
    suppression_seconds: Annotated[
        PositiveInt,
        Field(description="How long a node that rejected an item is not asked for it."),
    ] = 4 * 3600
    tracking_wait_seconds: Annotated[
        PositiveInt, Field(description="How long a tracking update waits for its shipment.")
    ] = 7 * 86_400
    tracking_waits: Annotated[
        PositiveInt,
        Field(
            description="Tracking updates of a shard that wait, at the most; the oldest go first."
        ),
    ] = 100_000
    retire_seconds: Annotated[
        PositiveInt, Field(description="How long a closed order stays in the engine's memory.")
    ] = 86_400
    availability_thresholds: Annotated[
        tuple[NonNegativeInt, ...],
        NoDecode,
        Field(
            description="Units, separated by commas: availability is published when it crosses one."
        ),
    ] = (0, 5, 20)
    promise: Annotated[
        bool,
        Field(
            description="Whether role `api` answers `POST /promise` and `GET /stock/…?channel=`, "
            "for which it follows every journal in memory."
        ),
    ] = True
    promise_lag_seconds: Annotated[
        PositiveFloat,
        Field(description="How old what promises rest on may be, at the most; beyond it is 503."),
    ] = 2.0
    history: Annotated[
        bool,
        Field(
            description="Whether role `history` publishes the topic `history`; where it is off, "
            "the role does nothing."
        ),
    ] = True
    past: Annotated[
        bool,
        Field(
            description="Whether role `past` keeps what stood in the read models when, for `?at=`; "
            "where it is off, the role does nothing."
        ),
    ] = True
    kpis_alerts: Annotated[
        str | None,
        Field(
            description="The YAML file of role `kpis`'s alerts: lines that figures must not cross."
            " Give all its processes the same."
        ),
    ] = None
    kpis_hours_back: Annotated[
        PositiveInt | Literal["all"],
        Field(
            description="Where role `kpis` was never run: from how many hours ago on figures are"
            " told. `all`: from the beginning of `history`. Afterwards it says nothing."
        ),
    ] = 24
    batch_ms: Annotated[
        PositiveInt,
        Field(description="How long the engine decides before it commits, when more is waiting."),
    ] = 40
    pace_ms: Annotated[
        NonNegativeInt,
        Field(
            description="How long intake, and whoever follows a journal, lets records gather while "
            "they keep coming: fewer and larger steps, for so many milliseconds more at the most. "
            "The first record after a pause goes at once; 0: each does."
        ),
    ] = 10
    trim_seconds: Annotated[
        PositiveFloat,
        Field(description="How often the inbox is trimmed behind the journal."),
    ] = 60.0
    trim_margin_records: Annotated[
        NonNegativeInt,
        Field(description="Handled inbox records that are kept, for those who look into them."),
    ] = 10_000

    relay_transactions: Annotated[
        bool,
        Field(
            description="Whether role `relay` publishes in Kafka transactions: consumers with "
            "`isolation.level=read_committed` then see no event twice, some milliseconds later. "
            "All relays of a prefix must have the same setting."
        ),
    ] = False
    suspect_seconds: Annotated[
        PositiveFloat,
        Field(
            description="How long a shard's journal may stand still while something is due, before "
            "role `standby` takes the shard over."
        ),
    ] = 1.0
    snapshot_events: Annotated[
        PositiveInt,
        Field(
            description="Inputs and decided events of a shard between two snapshots that role "
            "`standby` takes: about what opening folds."
        ),
    ] = 100_000

    @field_validator("kafka")
    @classmethod
    def _servers(cls, value: str | None) -> str | None:
        for server in value.split(",") if value else ():
            found = _SERVER.fullmatch(server.strip())
            if found is None or not 0 < int(found[1] or 1) <= _MAX_PORT:
                raise ValueError("must be host:port,host:port")
        return value

    @field_validator("http")
    @classmethod
    def _port(cls, value: str) -> str:
        if int(value.rpartition(":")[2]) > _MAX_PORT:
            raise ValueError(f"must be host:port with a port of at most {_MAX_PORT}")
        return value

    @field_validator("availability_thresholds", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def reference() -> str:
    """The table of all settings, in Markdown."""
    rows = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, tuple):
            default = ",".join(map(str, default))
        shown = "—" if default in {None, ""} else f"`{default}`"
        rows.append(f"| `{variable(name)}` | {shown} | {field.description} |")
    return "\n".join(rows) + "\n"
