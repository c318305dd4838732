"""What docker-compose.yml, the Dockerfile and Prometheus ask for exists. Needs no Docker engine."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: it for name, it in SERVICES.items() if it["image"].startswith("headrace:")}
ROLES = {name: it for name, it in OURS.items() if it["command"][0] == "run"}
JOBS = {name: it for name, it in OURS.items() if name not in ROLES}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def resolved(value: object) -> str:
    """`value` as it is where the variables that it names are not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))


def settings_of(service: dict[str, Any]) -> dict[str, str]:
    return {name: resolved(value) for name, value in service["environment"].items()}


def is_a_command(words: list[str]) -> bool:
    """Whether the command line knows these commands and options; runs nothing."""
    return CliRunner().invoke(cli.application(words), [*words, "--help"]).exit_code == 0


@pytest.mark.parametrize("name", OURS)
def test_a_services_command_is_one_of_the_command_line(name: str) -> None:
    assert is_a_command(OURS[name]["command"])


@pytest.mark.parametrize("words", [["topics", "destroy"], ["run", "--no-such"], ["no-such"]])
def test_a_command_that_does_not_exist_is_seen(words: list[str]) -> None:
    assert not is_a_command(words)


def test_only_the_shadow_waits_to_be_asked_for() -> None:
    assert {name: it["profiles"] for name, it in SERVICES.items() if "profiles" in it} == {
        "shadow": ["shadow"]
    }


def test_every_role_has_a_service() -> None:
    assert {role for it in ROLES.values() for role in it["command"][2].split(",")} == {
        "api",
        "engine",
        "history",
        "intake",
        "kpis",
        "past",
        "projector",
        "relay",
        "shadow",
        "standby",
    }
    assert ROLES["engine"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", OURS)
def test_a_services_settings_exist_and_are_valid(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings_of(OURS[name])
    assert {
        setting.removeprefix("HEADRACE_").lower() for setting in given
    } <= Settings.model_fields.keys()
    for setting, value in given.items():
        monkeypatch.setenv(setting, value)
    Settings()


def test_the_images_settings_exist() -> None:
    named = re.findall(r"HEADRACE_(\w+)=", DOCKERFILE)
    assert named
    assert {setting.lower() for setting in named} <= Settings.model_fields.keys()


def test_services_reach_kafka_and_postgres_by_the_names_and_ports_they_have() -> None:
    kafka = settings_of(SERVICES["kafka"])["KAFKA_ADVERTISED_LISTENERS"]
    database = settings_of(SERVICES["postgres"])
    for service in OURS.values():
        given = settings_of(service)
        assert f"INTERNAL://{given['HEADRACE_KAFKA']}," in kafka
        url = urlsplit(given["HEADRACE_POSTGRES"])
        assert (url.hostname, url.port) == ("postgres", 5432)
        assert (url.username, url.password, url.path) == (
            database["POSTGRES_USER"],
            database["POSTGRES_PASSWORD"],
            f"/{database['POSTGRES_DB']}",
        )


def test_no_port_is_published_beyond_this_machine() -> None:
    published = [port for it in SERVICES.values() for port in it.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def http_port(service: dict[str, Any]) -> str:
    return settings_of(service)["HEADRACE_HTTP"].rpartition(":")[2]


def test_roles_serve_http_where_health_checks_ports_and_prometheus_look() -> None:
    for service in ROLES.values():
        check = service["healthcheck"]["test"][-1]
        assert f"http://127.0.0.1:{http_port(service)}/health/live" in check
        assert check in DOCKERFILE
    assert SERVICES["api"]["ports"] == [f"127.0.0.1:8080:{http_port(SERVICES['api'])}"]
    (scrape,) = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["scrape_configs"]
    (found,) = scrape["dns_sd_configs"]
    assert set(found["names"]) == ROLES.keys()
    assert {str(found["port"])} == {http_port(service) for service in ROLES.values()}


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_can_come_true(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        check = SERVICES[other].get("healthcheck", {})
        match wait["condition"]:
            case "service_healthy":
                assert check["test"]
            case "service_completed_successfully":
                assert other in JOBS
                assert check == {"disable": True}
                assert "restart" not in SERVICES[other]
            case condition:
                pytest.fail(f"{name} waits for {other}: {condition}")


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - JOBS.keys()))
def test_every_long_running_service_is_checked_and_restarted(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


def mounts() -> Iterator[tuple[str, str]]:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            yield source, target


def test_mounted_files_and_volumes_exist() -> None:
    for source, _ in mounts():
        if source.startswith("."):
            assert (ROOT / source).exists(), source
        else:
            assert source in COMPOSE["volumes"]
    assert {source for source, _ in mounts()} >= COMPOSE["volumes"].keys()


@pytest.mark.parametrize("image", sorted({it["image"] for it in SERVICES.values()}))
def test_images_are_of_a_fixed_version(image: str) -> None:
    assert re.fullmatch(r"[\w/.-]+:v?\d+(\.\d+)*", image)


def test_our_images_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {it["image"] for it in OURS.values()} == {f"headrace:{project['version']}"}


def test_the_image_gets_every_package_and_file_that_it_copies() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert set(build["targets"]["wheel"]["packages"]) <= copied
    let_through = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert copied == let_through
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_runs_as_an_unprivileged_user() -> None:
    (user,) = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)
    assert user == "headrace"
    assert DOCKERFILE.index("USER headrace") < DOCKERFILE.index("ENTRYPOINT")


def test_the_image_has_a_compiled_core_and_no_compiler() -> None:
    building, running = re.split(r"^FROM .+$", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert "HATCH_BUILD_HOOK_ENABLE_CUSTOM=true pip install" in building
    assert "headrace version | grep -q compiled" in building
    assert "gcc" in building
    assert "apt-get" not in running
    (uninstalled,) = re.findall(r"pip uninstall --yes (.+) \\", building)
    assert {"mypy", "setuptools", "hatchling"} <= set(uninstalled.split())
