"""What watches over faust; the app itself runs in tests/e2e/test_metrics.py."""

import pytest

from streams.metric_order import Stalled
from streams.metrics_app import Stall


def test_records_that_do_not_come_are_noticed_and_only_those():
    now, left = [0.0], [0]
    stall = Stall(lambda: left[0], 20.0, lambda: now[0])
    stall.check(0.0)
    now[0], left[0] = 19.0, 5
    stall.check(0.0)
    now[0] = 30.0
    stall.check(15.0)
    left[0] = 0
    stall.check(0.0)
    left[0] = 5
    now[0] = 45.0
    stall.check(0.0)  # looked at 15 s ago: such a look asks the broker
    now[0] = 51.0
    with pytest.raises(Stalled, match="5 records are not committed and nothing came for 51 s"):
        stall.check(0.0)
