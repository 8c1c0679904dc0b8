"""Starts the real commands as a user would, in processes of their own, with the settings of a test."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from schemas.settings import Settings, environ_of

NOTE_JOBS = ("tag-notes", "index-notes")


def tagstream(settings: Settings, *args: str, code: int = 0, stdin: str | None = None) -> str:
    """Runs one command to its end and returns its stdout; any other exit code than ``code`` fails the test."""
    command = [sys.executable, "-m", "tagstream", *args]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ_of(settings), input=stdin, timeout=600)
    assert done.returncode == code, f"tagstream {' '.join(args)} exited {done.returncode}:\n{done.stderr[-3000:]}"
    return done.stdout


def tagstream_json(settings: Settings, *args: str, code: int = 0, stdin: str | None = None) -> Any:
    """The JSON document of a command."""
    return json.loads(tagstream(settings, *args, "--json", code=code, stdin=stdin))


def consume_notes(settings: Settings) -> None:
    """Tags and indexes all notes, one job after the other: side by side the second could be idle before the first tags come."""
    for job in NOTE_JOBS:
        tagstream(settings, "consume", job, "--until-idle", "2")


def start(settings: Settings, *args: str, extra: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Starts a command in a process group of its own, stderr to a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "tagstream", *args],
        env=environ_of(settings) | dict(extra or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> str:
    """SIGKILL to the whole process group; returns what it had said on stderr."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()[1]
