"""The benchmark of tower training at its smallest: both loops learn the planted taste."""

from benchmarks.tower_training import Size, run


def test_both_loops_learn() -> None:
    rate, recall = run(Size(readers=150, notes=600, topics=6, actions=20, epochs=6, batch=32))
    assert rate.ours > 0 and rate.peer
    chance = 50 / 120
    assert recall.ours > 1.2 * chance and recall.peer is not None and recall.peer > 1.2 * chance
