"""A redrive that is killed after its records are acknowledged and before it says so in the marks."""

import os
import signal
import sys

import msgspec

from consumers.dead_letters_choice import open_log
from schemas.settings import Settings
from streams.redrive import Asked, Redriver
from streams.sender import KafkaSender


def main() -> None:
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    log = open_log(settings)
    mark = log.mark

    def mark_or_die(sender, marks, unmarked=()):
        if any(one.state == "redriven" for one in marks):
            os.kill(os.getpid(), signal.SIGKILL)
        mark(sender, marks, unmarked)

    log.mark = mark_or_die
    list(Redriver(log, KafkaSender(settings)).redrive(log.listing().letters, Asked()))


if __name__ == "__main__":
    main()
