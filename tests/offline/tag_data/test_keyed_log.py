"""A log of what is finished survives a kill at any byte."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from offline.tag_data.keyed_log import KeyedLog


class Held(Struct, frozen=True):
    text: str
    numbers: list[int] = []


@settings(max_examples=15)
@given(st.dictionaries(st.text(min_size=1), st.builds(Held, st.text(), st.lists(st.integers(-9, 9))), min_size=1, max_size=5), st.data())
def test_what_was_whole_before_a_torn_end_comes_back_and_more_can_follow(values: dict[str, Held], data: st.DataObject) -> None:
    with TemporaryDirectory() as place:
        path = Path(place) / "deep" / "held.log"
        log = KeyedLog(path, Held)
        ends = []
        for key, value in values.items():
            log.add(key, value)
            ends.append(path.stat().st_size)
        assert {key: log[key] for key in values} == values and len(log) == len(values)
        log.close()
        cut = data.draw(st.integers(0, ends[-1]))
        path.write_bytes(path.read_bytes()[:cut])
        whole = dict(list(values.items())[: sum(end <= cut for end in ends)])
        again = KeyedLog(path, Held)
        assert len(again) == len(whole) and all(again[key] == value for key, value in whole.items())
        again.add("the next", Held("new"))
        assert again["the next"] == Held("new") and all(again[key] == value for key, value in whole.items() if key != "the next")
        again.close()
        third = KeyedLog(path, Held)
        assert "the next" in third and len(third) == len(whole | {"the next": Held("")})
        third.close()
