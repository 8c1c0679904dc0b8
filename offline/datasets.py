"""Public data as our events: MovieLens with TMDB texts, and the Deskdrop reading log. Nothing is downloaded; directories come by argument.

MovieLens (Harper & Konstan 2015, ml-latest-small) joined with TMDB 5000 by ``links.csv``: a film is a note of category ``media`` whose body
is TMDB's overview, published when it was first rated. A rating, its half dropped, is an action: 3 click, 4 like, 5 favorite; below 3 the
reader saw the film and did not care for it, which is a ``view`` and adds nothing to a profile. Like and favorite are ratings of 4 and more.

Deskdrop (CI&T, 72,312 events of a post-sharing community): VIEW click, LIKE like, BOOKMARK favorite, COMMENT CREATED comment, FOLLOW share.
The texts of its articles are not in the data, so a note says only what is known of the first opening: when, where and on which device.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from schemas.errors import InvalidEvent, MissingPrerequisite
from schemas.events import Action, Interaction, NoteEvent

RATING_ACTIONS: Mapping[int, Action] = {5: "favorite", 4: "like", 3: "click"}
DESKDROP_ACTIONS: Mapping[str, Action] = {
    "VIEW": "click",
    "LIKE": "like",
    "BOOKMARK": "favorite",
    "COMMENT CREATED": "comment",
    "FOLLOW": "share",
}
DESKDROP_CSV = "users_interactions.csv"
DESKDROP_ZIP = "users_interactions.zip"
BROWSERS = (("Edge", "Edge"), ("Chrome", "Chrome"), ("Firefox", "Firefox"), ("Trident", "Internet Explorer"), ("Safari", "Safari"))
DEVICES = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android phone"), ("Macintosh", "Mac"), ("Windows", "Windows computer"),
    ("CrOS", "Chromebook"), ("Linux", "Linux computer"),
)  # fmt: skip
COUNTRIES = {"BR": "Brazil", "US": "United States", "CA": "Canada", "JP": "Japan", "AU": "Australia", "GB": "United Kingdom", "KR": "Korea"}


def movielens_notes(ml_dir: Path, tmdb_dir: Path) -> Iterator[NoteEvent]:
    """Films that both sources know and somebody rated, in order of their first rating.

    Raises:
        MissingPrerequisite: naming the file that is absent.
    """
    first = _first_rated(ml_dir)
    films = sorted((first[movie], int(movie), row) for movie, row in _films(ml_dir, tmdb_dir) if movie in first)
    for published_at, movie, row in films:
        companies = json.loads(row["production_companies"] or "[]")
        yield NoteEvent(
            type="note.published",
            note_id=f"ml-{movie}",
            author_id=f"studio-{companies[0]['id']}" if companies else "studio-unknown",
            category="media",
            title=row["title"],
            body=row["overview"] or row["tagline"],
            language="en",
            occurred_at=published_at,
            published_at=published_at,
        )


def movielens_keywords(ml_dir: Path, tmdb_dir: Path) -> dict[str, list[str]]:
    """TMDB's keywords by note_id for the films of ``movielens_notes``: tags given by humans, never shown to a tagger."""
    first = _first_rated(ml_dir)
    return {
        f"ml-{movie}": [keyword["name"] for keyword in json.loads(row["keywords"] or "[]")]
        for movie, row in _films(ml_dir, tmdb_dir)
        if movie in first
    }


def movielens_genres(ml_dir: Path) -> dict[str, list[str]]:
    """MovieLens' genres by note_id: coarse tags to compare fine ones with; a film without any has an empty list.

    Raises:
        MissingPrerequisite: naming the file that is absent.
    """
    rows = _rows(ml_dir / "movies.csv", ("movieId", "genres"))
    return {f"ml-{row['movieId']}": [genre for genre in row["genres"].split("|") if not genre.startswith("(")] for row in rows}


def movielens_interactions(ml_dir: Path, tmdb_dir: Path) -> Iterator[Interaction]:
    """Ratings of the films of ``movielens_notes`` in order of time; ``event_id`` is made of reader and film, which occur together once.

    Raises:
        MissingPrerequisite: naming the file that is absent.
    """
    known = {movie for movie, _ in _films(ml_dir, tmdb_dir)}
    ratings = sorted(
        (int(row["timestamp"]), int(row["userId"]), int(row["movieId"]), float(row["rating"]))
        for row in _rows(ml_dir / "ratings.csv", ("userId", "movieId", "rating", "timestamp"))
        if row["movieId"] in known
    )
    for seconds, reader, movie, rating in ratings:
        yield Interaction(
            event_id=f"ml-{reader}-{movie}",
            user_id=f"ml-u{reader}",
            note_id=f"ml-{movie}",
            action=RATING_ACTIONS.get(int(rating), "view"),
            occurred_at=seconds * 1000,
        )


def deskdrop_interactions(directory: Path) -> Iterator[Interaction]:
    """The reading log in order of time, lines of one second in the order of the file; ``event_id`` is the line's number there.

    One line of the copy we know is no event of Deskdrop (a DISLIKE somebody added); it is left out, any other unknown kind is an error.

    Raises:
        MissingPrerequisite: naming the file that is absent.
        InvalidEvent: for a line with an unknown ``eventType``, naming the line.
    """
    events = []
    for number, row in _deskdrop_rows(directory):
        kind = row["eventType"]
        if kind == "DISLIKE":
            continue
        if kind not in DESKDROP_ACTIONS:
            raise InvalidEvent(f"{DESKDROP_CSV} line {number}, eventType", f"{kind!r} is none of {', '.join(DESKDROP_ACTIONS)}")
        events.append((int(row["timestamp"]), number, DESKDROP_ACTIONS[kind], row["personId"], row["contentId"], row["sessionId"]))
    events.sort()
    for seconds, number, action, reader, content, session in events:
        yield Interaction(
            event_id=f"dd-{number}",
            user_id=f"dd-u{reader}",
            note_id=f"dd-{content}",
            action=action,
            occurred_at=seconds * 1000,
            request_id=session or None,
        )


def deskdrop_notes(directory: Path) -> Iterator[NoteEvent]:
    """One note per content id, published at its first event, in that order. The author is unknown and the same for all.

    Raises:
        MissingPrerequisite: naming the file that is absent.
    """
    first: dict[str, tuple[int, int, dict[str, str]]] = {}
    for number, row in _deskdrop_rows(directory):
        if row["eventType"] not in DESKDROP_ACTIONS:
            continue
        seen = (int(row["timestamp"]), number, row)
        if row["contentId"] not in first or seen[:2] < first[row["contentId"]][:2]:
            first[row["contentId"]] = seen
    for content, (seconds, _, row) in sorted(first.items(), key=lambda item: item[1][:2]):
        at = datetime.fromtimestamp(seconds, UTC)
        device, browser = _named(DEVICES, row["userAgent"]), _named(BROWSERS, row["userAgent"])
        place = COUNTRIES.get(row["userCountry"], row["userCountry"])
        tool = " and ".join(part for part in (device, browser) if part)
        yield NoteEvent(
            type="note.published",
            note_id=f"dd-{content}",
            author_id="dd-author-unknown",
            title=f"Article first opened on a {at:%A} {_part_of_day(at.hour)}",
            body=f"First opened on {at.day} {at:%B %Y}"
            + (f", in {place}" if place else "")
            + (f", region {row['userRegion']}" if row["userRegion"] not in ("", "?") else "")
            + (f", with {tool}." if tool else ", reader's device not recorded."),
            language="en",
            occurred_at=seconds * 1000,
            published_at=seconds * 1000,
        )


def _films(ml_dir: Path, tmdb_dir: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(movieId, TMDB row) for each film of both; several MovieLens ids may share a TMDB id."""
    movies: dict[str, list[str]] = {}
    for row in _rows(ml_dir / "links.csv", ("movieId", "tmdbId")):
        if row["tmdbId"]:
            movies.setdefault(row["tmdbId"], []).append(row["movieId"])
    columns = ("id", "title", "overview", "tagline", "keywords", "production_companies")
    for row in _rows(tmdb_dir / "tmdb_5000_movies.csv", columns):
        for movie in movies.get(row["id"], ()):
            yield movie, row


def _first_rated(ml_dir: Path) -> dict[str, int]:
    """movieId -> epoch ms of its first rating."""
    first: dict[str, int] = {}
    for row in _rows(ml_dir / "ratings.csv", ("movieId", "timestamp")):
        at = int(row["timestamp"]) * 1000
        first[row["movieId"]] = min(at, first.get(row["movieId"], at))
    return first


def _deskdrop_rows(directory: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number of the CSV, row); the header is line 1."""
    columns = ("timestamp", "eventType", "contentId", "personId", "sessionId", "userAgent", "userRegion", "userCountry")
    plain = directory / DESKDROP_CSV
    source = plain if plain.exists() else directory / DESKDROP_ZIP
    yield from enumerate(_rows(source, columns), start=2)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file, one at a time."""
    with _opened(path) as lines:
        reader = csv.DictReader(lines)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise MissingPrerequisite(f"{path}: column {missing[0]} is missing; is this the right file?")
        yield from reader


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A text file, or the one file inside a zip, open for reading."""
    if not path.is_file():
        raise MissingPrerequisite(f"{path} is missing; give the directory that holds {path.name}")
    if path.suffix != ".zip":
        with path.open(encoding="utf-8", newline="") as lines:
            yield lines
        return
    with zipfile.ZipFile(path) as archive, archive.open(DESKDROP_CSV) as raw, io.TextIOWrapper(raw, "utf-8", newline="") as lines:
        yield lines


def _named(names: tuple[tuple[str, str], ...], agent: str) -> str:
    """The first known name whose sign occurs in a browser's user agent, else the empty string."""
    return next((name for sign, name in names if sign in agent), "")


def _part_of_day(hour: int) -> str:
    """UTC hour to words."""
    return "night" if hour < 6 else "morning" if hour < 12 else "afternoon" if hour < 18 else "evening"
