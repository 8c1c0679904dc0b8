"""Who speaks: espeak-ng's variants, those that train, those to choose settings by, and those that are only heard in the test.

Of the eleven variants of the simulated community eight train and three do not; two more that do not come from outside it. The other
variants that train make the model hear more voices than the community has.
"""

from offline.simulate.catalogue import Language
from offline.simulate.draws import Draws, Stream
from offline.simulate.notes import ACCENTS
from offline.simulate.truth import Voice

HELD_OUT = ("m4", "m7", "f3", "m8", "f5")
TRIAL = ("caleb", "linda", "Mario", "paul", "steph")
TRAINING = (
    "m1", "m2", "m3", "m5", "m6", "f1", "f2", "f4", "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Gene2",
    "Henrique", "Hugo", "Jacky", "Lee", "Marco", "Michael", "Mike", "Nguyen", "adam", "anika", "announcer", "antonio", "belinda",
    "benjamin", "boris", "david", "ed", "edward", "edward2", "grandma", "grandpa", "gustave", "iven", "iven2", "iven3", "iven4", "john",
    "kaukovalta", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "pedro", "quincy", "rob", "robert", "sandro", "shelby",
    "steph2", "steph3", "travis", "victor", "zac",
)  # fmt: skip


def training_voice(language: Language, number: int, seed: int) -> Voice:
    """Voice ``number`` that trains: variants of the community every other time, pitch and speed a little beyond its own."""
    draws = Draws(seed, Stream.MEDIA, 2 * number + (language == "zh"))
    variant = draws.choice(TRAINING[:8] if number % 2 == 0 else TRAINING[8:])
    return Voice(name=f"{draws.choice(ACCENTS[language])}+{variant}", pitch=20 + draws.below(60), speed=122 + draws.below(76))


def held_out_voice(language: Language, number: int, seed: int) -> Voice:
    """Voice ``number`` of the test: each variant in turn, pitch and speed as the community draws them."""
    return _in_turn(HELD_OUT, language, number, seed)


def trial_voice(language: Language, number: int, seed: int) -> Voice:
    """Voice ``number`` to choose settings by: neither in training nor in the test."""
    return _in_turn(TRIAL, language, number, seed)


def _in_turn(variants: tuple[str, ...], language: Language, number: int, seed: int) -> Voice:
    draws = Draws(seed, Stream.MEDIA, (1 << 20) + 2 * number + (language == "zh"))
    variant = variants[number % len(variants)]
    return Voice(name=f"{draws.choice(ACCENTS[language])}+{variant}", pitch=25 + draws.below(50), speed=130 + draws.below(60))
