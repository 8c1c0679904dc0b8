"""The benchmark of the frame sampler at its smallest, and its ground truth."""

from benchmarks.edits import TRANSITION, Edit, Shot, cases
from benchmarks.frames import run


def test_the_truth_of_an_edit():
    edit = Edit("two", [Shot(5, 25, flash_at=10), Shot(6, 25, enter="dissolve")])
    assert [edit.scene_at(number * 40) for number in (0, 10, 11, 12)] == [5, None, None, 5]
    assert [edit.scene_at((25 + number) * 40) for number in (0, TRANSITION // 2, TRANSITION)] == [5, None, 6]
    assert edit.scene_at(60_000) is None
    assert len({case.name for case in cases(0)}) == len(cases(0))


def test_the_sampler_is_no_worse_on_a_seed():
    rows = {row.what: row for row in run(seeds=[11], two_hours=False)}
    assert rows["worst single file, ours - fixed"].ours >= 0
    assert rows["all cases"].ours > (rows["all cases"].peer or 0)
