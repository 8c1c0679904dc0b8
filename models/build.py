"""Builds the tagger that the settings name. Which one is the choice of the setting or of the bundle, and never falls to another one."""

from typing import TYPE_CHECKING

from models.bundle_manifest import TaggerCard
from models.handbook import Handbook
from models.roles import TagEncoder, Tagger
from schemas.errors import BadSetting
from schemas.settings import Settings

if TYPE_CHECKING:
    from models.chat_endpoint import EndpointSpec

TAGGERS = ("handbook", "endpoint")
DEFAULT = "handbook"


def build_tagger(
    settings: Settings, encoder: TagEncoder | None = None, name: str | None = None, handbook: Handbook | None = None
) -> Tagger:
    """The tagger by name.

    Args:
        settings: ``tagger_max_tags``, ``tagger``, the endpoint's, and the encoder's where none is given.
        encoder: one that is already loaded.
        name: one of ``TAGGERS``; None: that of the settings.
        handbook: another one than the shipped one.

    Raises:
        BadSetting: when there is no such tagger, or what it needs is not set or cannot be loaded.
    """
    name = name or settings.tagger or DEFAULT
    if name not in TAGGERS:
        raise BadSetting(f"there is no tagger {name!r}; choose of: {', '.join(TAGGERS)}")
    from models.handbook import load_handbook
    from models.handbook_tagger import HandbookTagger

    handbook = handbook or load_handbook()
    if encoder is None:
        from models.encoder import load_tag_encoder

        encoder = load_tag_encoder(settings, handbook.glossary())
    plain = HandbookTagger(handbook, encoder, settings.tagger_max_tags)
    if name == HandbookTagger.name:
        return plain
    from models.chat_endpoint import ChatEndpoint
    from models.endpoint_tagger import EndpointTagger
    from models.guards import Guards
    from models.guards.contradiction import Values
    from models.prompts import Prompts

    prompts = Prompts(handbook, settings.endpoint_prompt, settings.tagger_max_tags)
    guards = Guards(values=Values(handbook))
    return EndpointTagger(ChatEndpoint(endpoint_spec(settings)), prompts, plain, settings.endpoint_image_side, guards)


def card_of(tagger: Tagger, max_tags: int) -> TaggerCard:
    """What identifies a tagger in a bundle."""
    from models.endpoint_tagger import EndpointTagger

    if isinstance(tagger, EndpointTagger):
        prompts = tagger.prompts
        return TaggerCard(tagger.name, max_tags, tagger.chat.spec.model, prompts.style.name, prompts.version, prompts.handbook.version)
    return TaggerCard(tagger.name, max_tags)


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
