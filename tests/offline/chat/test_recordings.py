"""Recordings that processes share and kills tear."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline.chat.pace import Pace
from offline.chat.recordings import Recorded, Recordings
from schemas.errors import BadSetting


def recorded(number: int, text: str = "fine") -> Recorded:
    return Recorded(f"{number:032x}", "m", text, False, 1, 2, 3)


def test_processes_share_a_directory(tmp_path):
    one, two = Recordings(tmp_path), Recordings(tmp_path)
    one.keep(recorded(1, "a\nb"))
    two.keep(recorded(2, "鞋"))
    one.keep(recorded(3))
    assert one.find(recorded(1).key) == recorded(1, "a\nb") and one.find(recorded(2).key) is None
    one.close()
    two.close()
    later = Recordings(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 and len(later) == 3
    assert [later.find(recorded(number).key).text for number in (1, 2, 3)] == ["a\nb", "鞋", "fine"]


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_torn_last_line_is_passed_over_and_the_rest_found(tmp_path, cut, caplog):
    before = Recordings(tmp_path)
    before.keep(recorded(1))
    before.keep(recorded(2))
    before.close()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-cut])
    after = Recordings(tmp_path)
    assert after.find(recorded(1).key) == recorded(1) and after.find(recorded(2).key) is None
    after.keep(recorded(2, "again"))
    after.close()
    assert Recordings(tmp_path).find(recorded(2).key).text == "again" and "torn" in caplog.text


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadSetting, match="is no directory"):
        Recordings(tmp_path / "file")


@given(
    per_min=st.integers(1, 3000),
    asked=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50)), min_size=1, max_size=60),
)
def test_no_minute_holds_more_than_its_limit(per_min, asked):
    now = 0.0
    pace = Pace(per_min, lambda: now)
    used = []
    for pause, amount in asked:
        now += pause
        used.append((now + pace.take(amount), amount))
    assert [at for at, _ in used] == sorted(at for at, _ in used)
    for start, _ in used:
        within = [amount for at, amount in used if start <= at < start + 60.0]
        assert sum(within) - within[-1] <= per_min * 61.0 / 60.0 + 1e-6
