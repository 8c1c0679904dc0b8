"""Builds the tagger that the settings name."""

from models.roles import Tagger
from schemas.errors import BadSetting
from schemas.settings import Settings


def build_tagger(settings: Settings, name: str = "handbook") -> Tagger:
    """The tagger by name.

    Raises:
        BadSetting: when there is no such tagger, or its encoder cannot be loaded.
    """
    if name != "handbook":
        raise BadSetting(f"there is no tagger {name!r}; use handbook")
    from models.encoder import load_tag_encoder
    from models.handbook import load_handbook
    from models.handbook_tagger import HandbookTagger

    handbook = load_handbook()
    return HandbookTagger(handbook, load_tag_encoder(settings, handbook.glossary()), settings.tagger_max_tags)
