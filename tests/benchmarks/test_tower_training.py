"""The benchmark of tower training at its smallest: both loops learn the planted taste."""

from benchmarks.tower_training import Size, run


def test_both_loops_learn() -> None:
    rate, recall, took = run(Size(readers=150, notes=600, topics=6, actions=20, epochs=8, batch=16, plain_epochs=3.0, plain_batch=64))
    assert rate.ours > 0 and rate.peer and took.ours > 0 and took.peer
    chance = 50 / 120
    assert recall.ours > 1.2 * chance and recall.peer is not None and recall.peer > 1.2 * chance
