"""Commits are the contiguous finished prefix, never more, whatever order batches finish in and whatever is revoked meanwhile."""

from hypothesis import given
from hypothesis import strategies as st

from streams.progress import Progress

PARTITIONS = st.integers(0, 2)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sets(PARTITIONS, min_size=1), st.integers(1, 5)),
        st.tuples(st.just("finish"), st.integers(0, 7)),
        st.tuples(st.just("revoke"), PARTITIONS),
        st.tuples(st.just("commit")),
    ),
    max_size=40,
)


class Model:
    """What was taken and finished, offset by offset, per life of a partition."""

    def __init__(self):
        self.life = dict.fromkeys(range(3), 0)
        self.next = dict.fromkeys(range(3), 0)
        self.done = {p: set() for p in range(3)}

    def prefix(self, p):
        end = 0
        while end in self.done[p]:
            end += 1
        return end


@given(STEPS)
def test_offers_exactly_the_contiguous_finished_prefix(steps):
    progress, model, tickets = Progress(), Model(), []
    progress.assign(range(3))
    committed = dict.fromkeys(range(3), 0)
    for step in steps:
        match step:
            case ("take", partitions, count):
                first = {p: model.next[p] for p in partitions}
                ticket = progress.take({p: first[p] + count - 1 for p in partitions})
                tickets.append((ticket, {p: (model.life[p], range(first[p], first[p] + count)) for p in partitions}))
                for p in partitions:
                    model.next[p] += count
            case ("finish", which) if tickets:
                ticket, spans = tickets.pop(which % len(tickets))
                progress.finish(ticket)
                progress.finish(ticket)
                for p, (life, span) in spans.items():
                    if life == model.life[p]:
                        model.done[p].update(span)
            case ("revoke", p):
                progress.revoke([p])
                assert p not in progress.partitions and p not in progress.to_commit()
                progress.assign([p])
                model.life[p] += 1
                model.next[p], model.done[p], committed[p] = 0, set(), 0
            case ("commit",):
                offered = progress.to_commit()
                assert offered == {p: model.prefix(p) for p in range(3) if model.prefix(p) > committed[p]}
                progress.committed(offered)
                committed.update(offered)
    assert progress.to_commit() == {p: model.prefix(p) for p in range(3) if model.prefix(p) > committed[p]}


def test_a_failed_commit_is_offered_again():
    progress = Progress()
    progress.assign([4])
    progress.finish(progress.take({4: 9}))
    progress.committed(progress.to_commit())
    assert progress.to_commit() == {}
    progress.forget_commits()
    assert progress.to_commit() == {4: 10}


def test_a_late_finish_says_nothing_about_the_partition_that_came_back():
    progress = Progress()
    progress.assign([0])
    late = progress.take({0: 99})
    progress.revoke([0])
    progress.assign([0])
    progress.finish(late)
    assert progress.to_commit() == {}


def test_a_later_batch_that_finishes_first_waits_for_the_earlier_one():
    progress = Progress()
    progress.assign([0, 1])
    earlier, later = progress.take({0: 4}), progress.take({0: 9, 1: 3})
    progress.finish(later)
    assert progress.to_commit() == {1: 4}
    progress.finish(earlier)
    assert progress.to_commit() == {0: 10, 1: 4}
