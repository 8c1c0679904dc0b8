"""`tagstream offline judge score` and `align`: the documents of the contract, and errors that name the cell."""

import json

import pytest
from click.testing import CliRunner

from offline.judge.cli import judge
from schemas.errors import BadSetting


def answer(path, *args, text):
    path.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(judge, [args[0], str(path), *args[1:]], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_score(tmp_path):
    text = "\ufeffmodel,verdict,why\nm,A>>B,\nm,A<B,x\nother, A=B,\n"
    found = json.loads(answer(tmp_path / "v.csv", "score", "--json", text=text))
    assert found == {
        "models": {
            "m": {"ps": 0.5, "MB": 1, "B": 0, "T": 0, "W": 1, "MW": 0, "n": 2},
            "other": {"ps": 0.0, "MB": 0, "B": 0, "T": 1, "W": 0, "MW": 0, "n": 1},
        }
    }
    assert "+0.500" in answer(tmp_path / "v.csv", "score", text=text)


HUMAN = """item,judge,model,metric,judge_score,human_score
1,j,m,ps,2,1
2,j,m,ps,-2,0
1,j,n,ps,1,1
1,k,m,bas,0.5,0
1,k,m,bas,0.5,1
"""


def test_align(tmp_path):
    found = json.loads(answer(tmp_path / "h.csv", "align", "--json", text=HUMAN))["judges"]
    assert found["j"]["models"]["m"]["ps"] == {"mae": 1.5, "consistency": 0.5, "exact": 0.0, "sign": 0.5, "n": 2}
    assert found["j"]["total"]["ps"]["mae"] == 1.0
    assert found["k"]["total"] == {"bas": {"mae": 0.0, "consistency": 1.0, "exact": 1.0, "sign": 1.0, "n": 1}}
    strict = json.loads(answer(tmp_path / "h.csv", "align", "--json", "--tolerance", "0.5", text=HUMAN))["judges"]
    assert strict["j"]["models"]["m"]["ps"]["consistency"] == 0.0
    assert "total" in answer(tmp_path / "h.csv", "align", text=HUMAN)


@pytest.mark.parametrize(
    ("command", "text", "message"),
    [
        ("score", "model,verdict\nm,A>B\nm,A>>>B\n", "line 3: verdict: 'A>>>B' is none of A>>B"),
        ("score", "model,verdict\n,A>B\n", "line 2: model: is empty"),
        ("score", "model\nm\n", "no column verdict"),
        ("score", "model,verdict\n", "no line below"),
        ("score", "", "no column model"),
        ("align", HUMAN + "9,j,m,ps,two,1\n", "line 7: judge_score: 'two' is no number"),
        ("align", HUMAN + "9,j,m,ps,1,nan\n", "line 7: human_score: 'nan' is no number"),
        ("align", HUMAN + "1,j,m,ps,1,1\n", "line 7: judge_score: 1.0 here, 2.0 in an earlier line"),
        ("align", HUMAN + "9,j,m,ps,1\n", "line 7: human_score: is empty"),
    ],
)
def test_a_faulty_cell_is_named(tmp_path, command, text, message):
    with pytest.raises(BadSetting, match=message.replace(">", "[>]")):
        answer(tmp_path / "x.csv", command, "--json", text=text)
