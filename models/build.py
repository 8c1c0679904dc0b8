"""Builds the tagger that the settings name."""

from models.handbook import Handbook, load_handbook
from models.roles import TagEncoder, Tagger
from schemas.errors import BadSetting
from schemas.settings import Settings

TAGGERS = ("handbook", "vlm")


def build_tagger(settings: Settings, encoder: TagEncoder | None = None, name: str = "handbook") -> Tagger:
    """The tagger by name.

    Args:
        settings: ``tagger_max_tags``; ``vlm_*`` and ``guard_*`` for the vision-language model; the encoder's where none is given.
        encoder: one that is already loaded.
        name: one of ``TAGGERS``.

    Raises:
        BadSetting: when there is no such tagger, or its encoder or model cannot be loaded.
        BundleMismatch: when the model was trained with another prompt or handbook.
    """
    if name not in TAGGERS:
        raise BadSetting(f"there is no tagger {name!r}; choose of: {', '.join(TAGGERS)}")
    handbook = load_handbook()
    if encoder is None:
        from models.encoder import load_tag_encoder

        encoder = load_tag_encoder(settings, handbook.glossary())
    if name == "vlm":
        return _vlm(settings, handbook, encoder)
    from models.handbook_tagger import HandbookTagger

    return HandbookTagger(handbook, encoder, settings.tagger_max_tags)


def _vlm(settings: Settings, handbook: Handbook, encoder: TagEncoder) -> Tagger:
    from models.guards import build_guards
    from models.guards.vocabulary import KnownTags
    from models.vlm_model import open_vlm
    from models.vlm_tagger import Bounds, VlmTagger

    model = open_vlm(settings.vlm_model, settings.vlm_device, settings.vlm_dtype)
    bounds = Bounds(
        batch=settings.vlm_batch,
        new_tokens=settings.vlm_new_tokens,
        image_pixels=settings.vlm_image_pixels,
        images=settings.media_images,
    )
    known = KnownTags(handbook, encoder, settings.tagger_known_tags) if settings.tagger_known_tags else None
    guards = build_guards(settings, handbook, encoder)
    return VlmTagger(model, handbook, settings.tagger_max_tags, bounds, guards=guards, known=known)
