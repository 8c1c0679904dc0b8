"""The containers' description: valid by the Compose schema, naming settings and commands that exist."""

import json
import tomllib
from pathlib import Path

import jsonschema
import milvus
import pytest
import yaml

from consumers.build import BUILDERS
from deploy.local.milvus_server import PORTS, _settings
from schemas.settings import PREFIX, STACK_SETTINGS, Settings, load

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
SCHEMA = json.loads(Path(__file__).with_name("compose_spec.json").read_text())
SCHEMA["properties"]["name"] = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"}  # added to the specification after this copy


def ours() -> dict[str, dict]:
    return {name: service for name, service in COMPOSE["services"].items() if "build" in service}


def test_it_is_valid_compose():
    jsonschema.Draft201909Validator(SCHEMA).validate(COMPOSE)


@pytest.mark.parametrize("damage", [{"image": 3}, {"prots": []}, {"depends_on": {"redis": {"condition": "soon"}}}])
def test_the_schema_refuses_a_broken_service(damage):
    broken = COMPOSE | {"services": COMPOSE["services"] | {"redis": COMPOSE["services"]["redis"] | damage}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft201909Validator(SCHEMA).validate(broken)


def test_every_image_is_pinned():
    foreign = [service["image"] for service in COMPOSE["services"].values() if "build" not in service]
    bases = [line.split()[1] for line in (ROOT / "deploy" / "Dockerfile").read_text().splitlines() if line.startswith("FROM")]
    assert len(foreign) == 3
    for image in foreign + bases:
        assert any(character.isdigit() for character in image.partition(":")[2]), image


def test_every_consumer_runs_and_is_configured_by_settings_that_exist():
    jobs = {service["command"][1] for service in ours().values() if service["command"][0] == "consume"}
    assert jobs == {*BUILDERS, "metrics"}
    for service in ours().values():
        settings = load(service["environment"])
        for name in service["environment"]:
            assert name.removeprefix(PREFIX).lower() in Settings.__struct_fields__
        for part, setting in STACK_SETTINGS.items():
            assert part in getattr(settings, setting)


def test_the_host_finds_the_servers_by_default_settings_on_loopback_only():
    published = {part: COMPOSE["services"][part]["ports"] for part in STACK_SETTINGS}
    for part, setting in STACK_SETTINGS.items():
        (binding,) = published[part]
        host, host_port, _ = binding.split(":")
        assert f"{host}:{host_port}" in getattr(Settings(), setting)
        assert host == "127.0.0.1"


def test_milvus_differs_from_its_defaults_as_the_local_one_does(tmp_path):
    template = Path(milvus.__file__).parent / "data" / "config.yaml.template"
    local = _settings(template, tmp_path, dict.fromkeys(PORTS, 1))
    environ = COMPOSE["services"]["milvus"]["environment"]
    assert environ["PROXY_TIMETICKINTERVAL"] == str(local["proxy"]["timeTickInterval"])
    assert environ["QUERYNODE_SEGCORE_INTERIMINDEX_NPROBE"] == str(local["queryNode"]["segcore"]["interimIndex"]["nprobe"])
    assert environ["COMMON_SESSION_TTL"] == str(local["common"]["session"]["ttl"])
    assert environ["COMMON_GRACEFULSTOPTIMEOUT"] == str(local["common"]["gracefulStopTimeout"])


def test_the_image_copies_every_room():
    rooms = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"])
    copied = {
        line.split()[1]
        for line in (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY") and "--" not in line
    }
    assert rooms | {"tagstream.py", "pyproject.toml"} <= copied
