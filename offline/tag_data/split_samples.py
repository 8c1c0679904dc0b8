"""Splits a directory of samples into three sets that share nothing, and looks whether sets do."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct, field

from offline.tag_data.links import KINDS, Kind, Link, Traits, components, kinds_within, links_between, traits_of
from offline.tag_data.samples import Sample, read_samples, share_pictures, write_samples
from offline.tag_data.split import SETS, allot, room_of
from offline.whole_file import whole_file, write_json

EXAMPLES = 3  # of each kind of leak
TRUTH = "truth.jsonl"
Advance = Callable[[], None]


class SplitSpec(Struct, frozen=True, kw_only=True):
    """How to split. ``amounts``: of sft, dpo_pool and eval, as shares or counts; ``kinds``: which ties hold samples together."""

    amounts: tuple[float, float, float] = (0.75, 0.125, 0.125)
    seed: int = 7
    kinds: list[Kind] = field(default_factory=lambda: list(KINDS))


class SplitReport(Struct, frozen=True, kw_only=True):
    """What came of a split. ``categories``: samples by set and category; ``components``: groups that had to stay together; ``largest``: the
    size of the largest and ``held_by`` the links in it by kind; ``left_out``: samples that are in no set."""

    spec: SplitSpec
    sets: dict[str, int]
    categories: dict[str, dict[str, int]]
    left_out: int
    components: int
    largest: int
    held_by: dict[Kind, int]

    @property
    def giant(self) -> str:
        """One line where the largest component is too large for a set to be as it was asked for; empty where it is not."""
        total = sum(self.sets.values()) + self.left_out
        if self.largest <= max(2, 0.1 * total):
            return ""
        held = ", ".join(f"{count} by {kind}" for kind, count in self.held_by.items())
        return f"{self.largest} of {total} samples hang together ({held}) and must be in one set; --links leaves out what may tie less"


class Leak(Struct, frozen=True):
    """Two samples of different sets that belong together."""

    kind: Kind
    left_set: str
    left_note: str
    right_set: str
    right_note: str


class LeakReport(Struct, frozen=True):
    """What sets share. ``crossing``: by kind, how many notes hang together with one of another set."""

    sets: dict[str, int]
    crossing: dict[Kind, int]
    examples: list[Leak]


def split_samples(source: Path, out: Path, spec: SplitSpec, advance: Advance | None = None) -> SplitReport:
    """Writes sft.jsonl, dpo_pool.jsonl, eval.jsonl and split.json; pictures are shared with the source.

    Args:
        source: directory with samples.jsonl, or a file of samples; its truths, where there are any, come along.
        out: may be the source's directory.
        spec: how.
        advance: called for every picture looked at.

    Raises:
        MissingPrerequisite: no samples, or a picture of theirs is absent.
        BadSetting: a line that is no sample, or amounts that cannot be.
    """
    path = source / "samples.jsonl" if source.is_dir() else source
    traits = [traits_of(sample, path.parent) for sample in read_samples(path)]
    room = room_of(spec.amounts, len(traits))
    links = links_between(traits, [*spec.kinds, "note"], advance)
    groups = components(len(traits), links)
    categories = [one.category or "none" for one in traits]
    places = allot(groups, categories, room, spec.seed)
    out.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(SETS):
        chosen = (sample for sample, place in zip(read_samples(path), places, strict=True) if place == number)
        write_samples(out / f"{name}.jsonl", _shared(chosen, path.parent, out))
    if (path.parent / TRUTH).is_file() and path.parent != out:
        with whole_file(out / TRUTH) as part:
            shutil.copyfile(path.parent / TRUTH, part)
    counted = Counter(zip(places, categories, strict=True))
    report = SplitReport(
        spec=spec,
        sets={name: sum(place == number for place in places) for number, name in enumerate(SETS)},
        categories={
            name: {category: counted[number, category] for category in sorted(set(categories))} for number, name in enumerate(SETS)
        },
        left_out=places.count(-1),
        components=len(groups),
        largest=len(groups[0]) if groups else 0,
        held_by=kinds_within(links, groups[0]) if groups else {},
    )
    write_json(out / "split.json", report)
    return report


def find_leaks(paths: Sequence[Path], kinds: Sequence[Kind] = KINDS, advance: Advance | None = None) -> LeakReport:
    """What sets of samples, a file each, share.

    Raises:
        MissingPrerequisite: a file or a picture is absent.
        BadSetting: a line is no sample.
    """
    traits: list[Traits] = []
    sets: list[str] = []
    names = names_of(paths)
    for path in paths:
        found = [traits_of(sample, path.parent) for sample in read_samples(path)]
        traits += found
        sets += [names[path]] * len(found)
    links = links_between(traits, kinds, advance)
    crossing: dict[Kind, int] = {}
    examples: list[Leak] = []
    for kind in KINDS:
        mine = [link for link in links if link.kind == kind]
        torn = [group for group in components(len(traits), mine) if len({sets[one] for one in group}) > 1]
        if torn:
            crossing[kind] = sum(len(group) for group in torn)
        apart = [link for link in mine if sets[link.left] != sets[link.right]]
        examples += [_leak(link, traits, sets) for link in apart[:EXAMPLES]]
    return LeakReport({name: sets.count(name) for name in names.values()}, crossing, examples)


def sets_of(directory: Path) -> list[Path]:
    """The files of the sets that a split wrote; only those that are there."""
    return [path for name in SETS if (path := directory / f"{name}.jsonl").is_file()]


def _leak(link: Link, traits: Sequence[Traits], sets: Sequence[str]) -> Leak:
    return Leak(link.kind, sets[link.left], traits[link.left].note_id, sets[link.right], traits[link.right].note_id)


def names_of(paths: Sequence[Path]) -> dict[Path, str]:
    """By stem where that tells them apart, else as given."""
    stems = Counter(path.stem for path in paths)
    return {path: path.stem if stems[path.stem] == 1 else str(path) for path in paths}


def _shared(samples: Iterable[Sample], source: Path, out: Path) -> Iterator[Sample]:
    for sample in samples:
        if source != out:
            share_pictures(sample, source, out)
        yield sample
