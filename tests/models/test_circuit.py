"""The circuit breaker by a clock that the test moves."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from models.circuit import Circuit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not(clock: Clock) -> None:
    circuit = Circuit(3, 10.0, clock)
    for _ in range(5):
        circuit.failed()
        circuit.failed()
        circuit.succeeded()
    assert circuit.state == "closed"
    for _ in range(3):
        assert circuit.allow()
        circuit.failed()
    assert circuit.state == "open" and not circuit.allow()


def test_one_trial_after_the_cool_down_closes_it(clock: Clock) -> None:
    circuit = Circuit(1, 10.0, clock)
    circuit.failed()
    clock.now = 9.9
    assert not circuit.allow()
    clock.now = 10.0
    assert circuit.state == "half_open"
    assert [circuit.allow() for _ in range(3)] == [True, False, False]
    circuit.succeeded()
    assert circuit.state == "closed" and circuit.allow()


def test_a_trial_that_fails_opens_it_anew(clock: Clock) -> None:
    circuit = Circuit(1, 10.0, clock)
    circuit.failed()
    clock.now = 12.0
    assert circuit.allow()
    circuit.failed()
    clock.now = 21.9
    assert circuit.state == "open" and not circuit.allow()
    clock.now = 22.0
    assert circuit.allow()


def test_a_trial_of_which_nothing_is_heard_is_not_waited_for_for_ever(clock: Clock) -> None:
    circuit = Circuit(1, 10.0, clock)
    circuit.failed()
    clock.now = 10.0
    assert circuit.allow() and not circuit.allow()
    clock.now = 20.0
    assert circuit.allow()


def test_calls_begun_before_it_opened_change_nothing(clock: Clock) -> None:
    circuit = Circuit(1, 10.0, clock)
    circuit.failed()
    clock.now = 5.0
    circuit.failed()
    circuit.succeeded()
    assert circuit.state == "open"
    clock.now = 10.0
    assert circuit.state == "half_open", "the late failure did not put the trial off"


class Machine(RuleBasedStateMachine):
    """Whatever happens: open means no call, and at most one trial per cool-down."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.circuit = Circuit(2, 10.0, self.clock)
        self.trials: list[float] = []

    @rule(seconds=st.floats(0, 15))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def call(self) -> None:
        before = self.circuit.state
        allowed = self.circuit.allow()
        if before == "open":
            assert not allowed
        elif before == "closed":
            assert allowed
        elif allowed:
            assert not self.trials or self.clock.now - self.trials[-1] >= 10.0
            self.trials.append(self.clock.now)

    @rule()
    def succeed(self) -> None:
        self.circuit.succeeded()
        if self.circuit.state == "closed":
            self.trials.clear()

    @rule()
    def fail(self) -> None:
        self.circuit.failed()

    @invariant()
    def has_a_state(self) -> None:
        assert self.circuit.state in ("closed", "open", "half_open")


TestMachine = Machine.TestCase
