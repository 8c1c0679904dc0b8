"""Builds the tagger that the settings name. Which one is the choice of the setting or of the bundle, and never falls to another one."""

from pathlib import Path
from typing import TYPE_CHECKING

from models.bundle_manifest import TaggerCard
from models.handbook import Handbook
from models.roles import TagEncoder, Tagger
from schemas.errors import BadSetting
from schemas.settings import Settings

if TYPE_CHECKING:
    from models.chat_endpoint import EndpointSpec
    from models.handbook_tagger import HandbookTagger

TAGGERS = ("handbook", "vlm", "endpoint")
DEFAULT = "handbook"


def build_tagger(
    settings: Settings, encoder: TagEncoder | None = None, name: str | None = None, handbook: Handbook | None = None
) -> Tagger:
    """The tagger by name.

    Args:
        settings: ``tagger``, ``tagger_max_tags``; ``vlm_*``, ``endpoint_*`` and ``guard_*`` for those with a model; the encoder's where
            none is given.
        encoder: one that is already loaded.
        name: one of ``TAGGERS``; None: that of the settings.
        handbook: another one than the shipped one.

    Raises:
        BadSetting: when there is no such tagger, or what it needs is not set or cannot be loaded.
        BundleMismatch: when the model was trained with another prompt or handbook.
    """
    name = name or settings.tagger or DEFAULT
    if name not in TAGGERS:
        raise BadSetting(f"there is no tagger {name!r}; choose of: {', '.join(TAGGERS)}")
    from models.handbook import load_handbook
    from models.handbook_tagger import HandbookTagger
    from models.kept_vectors import KeptVectors

    handbook = handbook or load_handbook()
    if encoder is None:
        from models.encoder import load_tag_encoder

        encoder = load_tag_encoder(settings, handbook.glossary())
    if name == "vlm":
        return _vlm(settings, handbook, encoder)
    kept = KeptVectors(encoder, Path(settings.data, "encoders", "handbook"))
    plain = HandbookTagger(handbook, encoder, settings.tagger_max_tags, of_handbook=kept)
    return plain if name == plain.name else _endpoint(settings, handbook, encoder, plain)


def _vlm(settings: Settings, handbook: Handbook, encoder: TagEncoder) -> Tagger:
    """The model in this process; torch is imported here."""
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
        recorded=settings.vlm_recorded,
    )
    known = KnownTags(handbook, encoder, settings.tagger_known_tags) if settings.tagger_known_tags else None
    guards = build_guards(settings, handbook, encoder)
    tagger = VlmTagger(model, handbook, settings.tagger_max_tags, bounds, guards=guards, known=known)
    tagger.version = f"{tagger.version}-{_options(settings)}"
    return tagger


def _endpoint(settings: Settings, handbook: Handbook, encoder: TagEncoder, plain: "HandbookTagger") -> Tagger:
    from models.chat_endpoint import ChatEndpoint
    from models.endpoint_tagger import EndpointTagger
    from models.guards import build_guards
    from models.guards.vocabulary import KnownTags
    from models.prompts import Prompts

    spec = endpoint_spec(settings)
    prompts = Prompts(handbook, settings.endpoint_prompt, settings.tagger_max_tags)
    known = KnownTags(handbook, encoder, settings.tagger_known_tags) if settings.tagger_known_tags else None
    guards = build_guards(settings, handbook, encoder)
    side = settings.endpoint_image_side
    return EndpointTagger(ChatEndpoint(spec), prompts, plain, side, guards=guards, known=known, options=_options(settings))


def vlm_version_of(settings: Settings, handbook: Handbook) -> str:
    """The version of the tagger ``vlm`` that ``build_tagger`` makes, without torch and without loading the weights.

    Raises:
        BadSetting: there are no such weights.
        BundleMismatch: they were trained with another prompt or handbook.
    """
    from models.prompts import Prompts
    from models.vlm_card import check_card, find_weights, vlm_version

    weights = find_weights(settings.vlm_model)
    card = weights.card
    prompts = Prompts(handbook, card.style if card else "full", settings.tagger_max_tags)
    if card:
        check_card(card, prompts, settings.vlm_model)
    made = vlm_version(weights.name, prompts, card.image_pixels if card else settings.vlm_image_pixels)
    return f"{made}-{_options(settings)}"


def _options(settings: Settings) -> str:
    """How many known tags are offered and which guards stand, for a version."""
    stand = (settings.guard_evidence, settings.guard_contradictions, settings.guard_aliases)
    return f"{settings.tagger_known_tags}.{''.join(str(int(one)) for one in stand)}.{settings.guard_alias_similarity:g}"


def correction_of(settings: Settings) -> str:
    """What identifies the model that puts transcripts right; empty where none does."""
    from models.transcriber.correction import PROMPT_VERSION

    return f"{PROMPT_VERSION}-{settings.endpoint_model}" if settings.transcriber_correction else ""


def version_with(version: str, correction: str) -> str:
    """A tagger's version, given what puts its transcripts right."""
    return f"{version}+{correction}" if correction else version


def card_of(tagger: Tagger, max_tags: int, correction: str = "", place: str = "") -> TaggerCard:
    """What identifies a tagger in a bundle, and where its weights are."""
    from models.endpoint_tagger import EndpointTagger
    from models.prompts import Prompts

    prompts: Prompts | None = getattr(tagger, "prompts", None)  # of those with a language model
    if prompts is None:
        return TaggerCard(tagger.name, max_tags, correction=correction)
    model = tagger.chat.spec.model if isinstance(tagger, EndpointTagger) else getattr(tagger, "weights", "")
    return TaggerCard(tagger.name, max_tags, model, prompts.style.name, prompts.version, prompts.handbook.version, correction, place)


def endpoint_spec(settings: Settings) -> "EndpointSpec":
    """The chat endpoint of the settings.

    Raises:
        BadSetting: they name none.
    """
    from models.chat_endpoint import EndpointSpec

    if not settings.endpoint_url.startswith(("http://", "https://")):
        raise BadSetting("TAGSTREAM_ENDPOINT_URL: give the endpoint's address, such as http://127.0.0.1:8000/v1")
    if not settings.endpoint_model:
        raise BadSetting("TAGSTREAM_ENDPOINT_MODEL: give the name by which the endpoint knows the model")
    return EndpointSpec(
        url=settings.endpoint_url,
        model=settings.endpoint_model,
        timeout_s=settings.endpoint_timeout_s,
        concurrency=settings.endpoint_concurrency,
        attempts=settings.endpoint_attempts,
        structured=settings.endpoint_structured,
        logprobs=settings.endpoint_logprobs,
        priority=settings.endpoint_priority,
        failures=settings.endpoint_failures,
        cool_down_s=settings.endpoint_cool_down_s,
    )
