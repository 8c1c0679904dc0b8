"""What the tests of this room share."""

import pytest

from tests.recall.world import World


@pytest.fixture
def world() -> World:
    return World()
