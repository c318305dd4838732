"""Settings, metrics and the command line: what they say, and how they refuse."""

import asyncio

import pytest
from typer.testing import CliRunner

from orchestrator import cli, compose
from orchestrator.runtime import metrics
from orchestrator.runtime.intake import IntakeError
from orchestrator.runtime.settings import Settings, SetupError, reference
from schemas.ports import LogError, TopicDescription
from schemas.topics import TOPICS


def described(settings: Settings, **partitions: int) -> dict[str, TopicDescription]:
    return {
        name: TopicDescription(partitions.get(name, compose.partitions_of(topic, settings)), 1, {})
        for name, topic in TOPICS.items()
    }


def test_every_setting_is_described_in_the_reference() -> None:
    page = reference()
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"`HEADRACE_{name.upper()}`" in page


def test_every_metric_is_in_the_reference() -> None:
    page = metrics.reference()
    assert "| `headrace_inputs_total` | counter | `type`, `outcome` |" in page
    assert page.count("\n") == len(metrics.TABLE) + 2


def test_thresholds_are_a_list_in_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_AVAILABILITY_THRESHOLDS", "0,3,10")
    assert Settings().availability_thresholds == (0, 3, 10)


def test_topics_as_configured_pass() -> None:
    settings = Settings(kafka="k:1")
    compose.check_topics(described(settings), settings)


def test_missing_topics_are_named_with_the_fix() -> None:
    settings = Settings(kafka="k:1", prefix="p-")
    found = described(settings)
    del found["orders"]
    with pytest.raises(SetupError, match="lacks the topics p-orders: run `headrace topics create`"):
        compose.check_topics(found, settings)


@pytest.mark.parametrize("topic", ["inbox", "journal"])
def test_another_number_of_shards_is_refused(topic: str) -> None:
    settings = Settings(kafka="k:1")
    with pytest.raises(SetupError, match=f"{topic} has 8 partitions, not 4: set HEADRACE_SHARDS=8"):
        compose.check_topics(described(settings, **{topic: 8}), settings)


@pytest.mark.parametrize("topic", ["orders", "availability"])
def test_another_number_of_partitions_is_refused(topic: str) -> None:
    settings = Settings(kafka="k:1")
    with pytest.raises(SetupError, match=f"{topic} has 8 partitions, not 4: .*PARTITIONS=8") as no:
        compose.check_topics(described(settings, **{topic: 8}), settings)
    assert no.value.exit_code == 3


def test_network_has_one_partition() -> None:
    settings = Settings(kafka="k:1")
    with pytest.raises(SetupError, match="network has 2 partitions, not 1"):
        compose.check_topics(described(settings, network=2), settings)


@pytest.mark.parametrize("replication", [1, 3])
def test_topics_are_durable_where_there_are_replicas(replication: int) -> None:
    config = compose.config_of(TOPICS["journal"], replication)
    assert config["message.timestamp.type"] == "LogAppendTime"
    assert config.get("min.insync.replicas") == ("2" if replication == 3 else None)


def test_every_command_is_listed_and_has_examples() -> None:
    runner = CliRunner()
    app = cli.application([])
    listed = runner.invoke(app, ["--help"]).output
    for name in cli.COMMANDS:
        assert name in listed
        shown = runner.invoke(app, [name, "--help"]).output
        assert "Usage" in shown


def test_only_the_command_that_is_called_is_loaded() -> None:
    names = [command.name for command in cli.application(["version"]).registered_commands]
    assert names == ["version"]


POSTGRES = "postgresql://user:password@127.0.0.1:1/none"
PROTOCOL = "HEADRACE_KAFKA_SECURITY_PROTOCOL"
COMMANDS = [
    ["run"],
    ["topics", "create"],
    ["topics", "describe"],
    ["send", "examples/01-network.jsonl"],
    ["tail", "orders"],
    ["status"],
    ["rebuild"],
    ["explain", "web/1"],
    ["db", "migrate"],
]


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "says"),
    [
        (["run"], {}, 3, "HEADRACE_KAFKA is not set"),
        (["run"], {"HEADRACE_SHARDS": "x"}, 2, "HEADRACE_SHARDS: "),
        (["run", "--roles", "cook"], {}, 2, "choose from intake,engine"),
        (
            ["run"],
            {"HEADRACE_KAFKA": "127.0.0.1:1"},
            3,
            "connect to 127.0.0.1:1: no broker answers: is one running there, and are HEADRACE_",
        ),
        (["topics", "create"], {}, 3, "HEADRACE_KAFKA is not set"),
        (["run"], {"HEADRACE_HTTP": "127.0.0.1:99999"}, 2, "HEADRACE_HTTP: must be host:port"),
        *(
            (
                command,
                {"HEADRACE_KAFKA": "127.0.0.1:1", "HEADRACE_POSTGRES": POSTGRES, **given},
                2,
                said,
            )
            for command in COMMANDS
            for given, said in (
                ({"HEADRACE_KAFKA": "foo:bar"}, "HEADRACE_KAFKA: must be host:port"),
                ({"HEADRACE_KAFKA": "a:1,b:70000"}, "HEADRACE_KAFKA: must be host:port"),
                ({"HEADRACE_POSTGRES": "nonsense"}, "HEADRACE_POSTGRES is not a libpq URL"),
                ({"HEADRACE_POSTGRES": "postgresql://u@h/d?x=1"}, "is not a libpq URL"),
            )
        ),
        *(
            (
                command,
                {"HEADRACE_KAFKA": "127.0.0.1:1", "HEADRACE_POSTGRES": POSTGRES, **given},
                2,
                said,
            )
            for command in COMMANDS
            if command[0] not in {"db", "explain"}  # these don't ask Kafka
            for given, said in (
                ({PROTOCOL: "SASL_PLAINTEXT"}, "needs HEADRACE_KAFKA_SASL_USERNAME"),
                ({PROTOCOL: "SSL", "HEADRACE_KAFKA_SSL_CA_FILE": "/no/such.pem"}, "No such file"),
                ({PROTOCOL: "SSL", "HEADRACE_KAFKA_SSL_CA_FILE": __file__}, "can't be used"),
            )
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_and_an_exit_code(
    arguments: list[str],
    environment: dict[str, str],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("HEADRACE_KAFKA", "HEADRACE_POSTGRES", "HEADRACE_SHARDS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HEADRACE_HTTP": "127.0.0.1:0", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["headrace", *arguments])
    monkeypatch.setattr("orchestrator.runtime.logs.configure", lambda *_: None)  # stays else
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == code
    assert says in said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("failure", "code"), [(LogError("the broker is gone"), 3), (IntakeError("a hole"), 1)]
)
async def test_a_role_that_fails_at_a_server_ends_with_its_exit_code(
    failure: Exception, code: int
) -> None:
    async def role() -> None:
        raise failure

    with pytest.raises(SetupError, match=str(failure)) as ended:
        await compose._until_stopped(asyncio.Event(), [asyncio.create_task(role())])
    assert ended.value.exit_code == code


async def test_a_role_that_is_cancelled_by_nobody_here_is_a_defect_not_a_clean_end() -> None:
    async def role() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="engine was cancelled, and not by us"):
        await compose._until_stopped(asyncio.Event(), [asyncio.create_task(role(), name="engine")])


async def test_a_process_with_a_halted_shard_is_not_ready() -> None:
    here = compose.Roles()
    here.running["projector"] = asyncio.create_task(asyncio.sleep(60))
    here.states["projector"] = lambda: {0: "open", 1: "halted"}
    ready, said = here.health()
    assert not ready
    assert said["projector"]["shards"] == {"0": "open", "1": "halted"}
    here.running["projector"].cancel()
