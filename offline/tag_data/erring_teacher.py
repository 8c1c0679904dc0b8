"""A teacher that errs, over notes whose true tags are known: what distillation is to improve on.

With ``noise`` P it does, each independent of the others and of what other notes are asked about:

- of every true tag, leaves it out with chance P/2; one always stays;
- after every tag that stays, with chance P/4 invents: a tag that other notes of the category have, not true of this one, under the source
  of the tag that it follows;
- after every tag that stays, with chance P/4 adds a tag that says nothing (``recommended``), under the dimension that it follows;
- ranks wrongly: each tag of n moves down by up to P x n places.
"""

from collections.abc import Sequence

from offline.simulate.catalogue import Language, load_catalogue
from offline.simulate.draws import Draws, Stream
from offline.simulate.notes import NOTE_PREFIX, Community
from offline.simulate.truth import Truth
from offline.tag_data.samples import Told

VAGUE: dict[Language, tuple[str, ...]] = {
    "en": ("nice", "good quality", "worth a look", "recommended", "daily share", "my favorite", "high value", "must have"),
    "zh": ("好看", "质量不错", "值得一看", "推荐", "日常分享", "好物", "高颜值", "必备"),
}
TRIES = 4


class ErringTeacher:
    """Args: the community whose notes it is asked about, and how much it errs, in [0, 1]; 0 tells the truth."""

    def __init__(self, community: Community, noise: float) -> None:
        self._community = community
        self._noise = noise

    def tags(self, truth: Truth, true: Sequence[Told]) -> list[Told]:
        """What it says of a note whose true tags, as far as they are told, are ``true``."""
        if not self._noise or not true:
            return list(true)
        draws = Draws(self._community.seed, Stream.TEACHER, int(truth.note_id.removeprefix(NOTE_PREFIX)))
        kept = [tag for tag in true if not draws.chance(self._noise / 2)] or [draws.choice(true)]
        said: list[Told] = []
        for tag in kept:
            said.append(tag)
            if draws.chance(self._noise / 4):
                said += self._invented(truth, tag, draws)
            if draws.chance(self._noise / 4):
                said.append(Told(draws.choice(VAGUE[truth.language]), tag.dimension, tag.source))
        reach = self._noise * len(said)
        places = [number + reach * draws.uniform() for number in range(len(said))]
        unique: dict[str, Told] = {}
        for number in sorted(range(len(said)), key=places.__getitem__):
            unique.setdefault(said[number].text.casefold(), said[number])
        return list(unique.values())

    def _invented(self, truth: Truth, tag: Told, draws: Draws) -> list[Told]:
        """One tag that is not true; none where the draw hits only true ones."""
        shelf = load_catalogue().shelves[truth.category]
        true = set(truth.all_tags())
        for _ in range(TRIES):
            dimension = draws.choice([*shelf.card, *shelf.told])
            text = draws.choice(shelf.phrases[dimension]).words.of(truth.language)
            if text not in true:
                return [Told(text, dimension, tag.source)]
        return []
