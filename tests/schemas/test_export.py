"""The checked-in contracts are those of the code, are valid schemas, and accept the example events."""

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from schemas import export
from schemas.cli import schemas as command

EXPORTED = Path(export.__file__).parent / "exported"
EXAMPLES = sorted((Path(export.__file__).parent / "examples").glob("*.json"))


def test_checked_in_files_are_current():
    assert export.export(EXPORTED, check=True) == {"written": [], "stale": []}
    assert {path.name for path in EXPORTED.iterdir()} == set(export.documents())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_satisfy_their_schema(path):
    name, version, _ = path.name.split(".")
    schema = json.loads((EXPORTED / f"{name.removesuffix('-minimal')}.{version}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(path.read_text()), schema)


def test_a_schema_refuses_what_the_decoder_refuses():
    schema = json.loads((EXPORTED / "interaction.v1.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError, match="action"):
        jsonschema.validate({"event_id": "e", "user_id": "u", "note_id": "n", "occurred_at": 1}, schema)


def test_asyncapi_references_resolve():
    document = export.asyncapi()

    def references(node):
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    found = list(references(document))
    assert found
    for reference in found:
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
    assert set(document["channels"]) == {"note-events", "note-tagged", "interactions", "training-examples", "dead-letter-marks"}


def test_check_names_a_stale_file(tmp_path):
    runner = CliRunner()
    assert runner.invoke(command, ["export", str(tmp_path), "--json"]).exit_code == 0
    (tmp_path / "asyncapi.json").write_text("{}")
    result = runner.invoke(command, ["export", str(tmp_path), "--check", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"written": [], "stale": ["asyncapi.json"]}
    assert (tmp_path / "asyncapi.json").read_text() == "{}"
