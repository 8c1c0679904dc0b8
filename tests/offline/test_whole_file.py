"""A file or a directory under its name is whole, whatever happens while it is written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from offline.json_lines import record_writer, write_records
from offline.whole_file import whole_directory, whole_file, write_json, write_whole

KILLED = """
import sys, time
from pathlib import Path
from offline.whole_file import whole_file

with whole_file(Path(sys.argv[1])) as part, part.open("w") as file:
    file.write("half")
    file.flush()
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_block_that_ends_puts_the_file_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "one" / "table.csv"
    with whole_file(path) as part:
        assert part.suffix == ".csv", "writers that go by the suffix find it"
        part.write_text("a,b\n")
        assert not path.exists()
    assert path.read_text() == "a,b\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("fails", [ValueError("a bad row"), KeyboardInterrupt()])
def test_a_block_that_fails_leaves_the_file_before(tmp_path: Path, fails: BaseException) -> None:
    path = tmp_path / "table.csv"
    path.write_text("before")
    with pytest.raises(type(fails)), whole_file(path) as part:
        part.write_text("half")
        raise fails
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_a_killed_writer_leaves_the_file_before_and_the_next_one_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("before")
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert path.read_text() == "before"
    write_whole(path, "after")
    assert path.read_text() == "after"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"], "what the killed one left is gone"


def test_a_directory_appears_with_all_that_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "one"
    (path.parent / ".part-one" / "left").mkdir(parents=True)  # by a killed writer
    with whole_directory(path) as made:
        assert not list(made.iterdir())
        (made / "a").write_text("1")
        assert not path.exists()
    assert [entry.name for entry in path.iterdir()] == ["a"]
    assert [entry.name for entry in path.parent.iterdir()] == ["one"]


@pytest.mark.parametrize("fails", [True, False])
def test_a_directory_that_is_there_is_not_written_over(tmp_path: Path, fails: bool) -> None:
    path = tmp_path / "one"
    path.mkdir()
    (path / "a").write_text("before")
    with pytest.raises((ValueError, OSError)), whole_directory(path) as made:
        (made / "b").write_text("after")
        if fails:
            raise ValueError("a bad row")
    assert [entry.name for entry in path.iterdir()] == ["a"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["one"]


def test_text_is_written_as_utf_8_and_json_for_people(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "茶")
    write_json(tmp_path / "b", {"tea": "茶"})
    assert (tmp_path / "a").read_bytes() == "茶".encode()
    assert (tmp_path / "b").read_text(encoding="utf-8") == '{\n "tea": "茶"\n}\n'


def test_records_are_counted_and_appear_together(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    assert write_records(path, [{"n": 1}, {"n": 2}]) == 2
    assert path.read_text() == '{"n":1}\n{"n":2}\n'
    with pytest.raises(ValueError, match="broken"), record_writer(path) as add:
        add({"n": 3})
        raise ValueError("broken")
    assert path.read_text() == '{"n":1}\n{"n":2}\n'
