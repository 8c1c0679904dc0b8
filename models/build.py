"""Builds the tagger that the settings name."""

from models.roles import TagEncoder, Tagger
from schemas.errors import BadSetting
from schemas.settings import Settings

TAGGERS = ("handbook",)


def build_tagger(settings: Settings, encoder: TagEncoder | None = None, name: str = "handbook") -> Tagger:
    """The tagger by name.

    Args:
        settings: ``tagger_max_tags``, and the encoder's where none is given.
        encoder: one that is already loaded.
        name: one of ``TAGGERS``.

    Raises:
        BadSetting: when there is no such tagger, or its encoder cannot be loaded.
    """
    if name not in TAGGERS:
        raise BadSetting(f"there is no tagger {name!r}; choose of: {', '.join(TAGGERS)}")
    from models.handbook import load_handbook
    from models.handbook_tagger import HandbookTagger

    handbook = load_handbook()
    if encoder is None:
        from models.encoder import load_tag_encoder

        encoder = load_tag_encoder(settings, handbook.glossary())
    return HandbookTagger(handbook, encoder, settings.tagger_max_tags)
