"""What a vision-language model is, as far as that is known without loading it: which weights, and what they were trained with."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from models.prompts import Prompts
from schemas.errors import BadSetting, BundleMismatch

ALGORITHM = 1
"""Of ``models.vlm_tagger``: goes up with whatever changes tags there."""
CARD_FILE = "tagger.json"
DEMO = "demo"
DEMO_DIR = Path(__file__).parent / "demo" / "vlm"


class VlmCard(Struct, frozen=True, kw_only=True):
    """``tagger.json`` beside weights that were trained for tagging: what they were trained with. ``prompt``: version of the style,
    ``handbook``: of the handbook, ``image_pixels``: of a picture; ``version`` changes with the weights."""

    style: str
    prompt: str
    handbook: str
    image_pixels: int
    version: str


class Weights(NamedTuple):
    """``place``: a directory, or a hub id with its ``revision``. ``name``: what identifies them, whatever the place."""

    place: str
    revision: str
    card: VlmCard | None
    name: str


def find_weights(model: str) -> Weights:
    """The weights of the setting ``vlm_model``; a hub id is looked up for its revision.

    Args:
        model: ``demo`` (those in this package, for the simulated community), a local directory, or a hub id.

    Raises:
        BadSetting: there are none, naming the setting.
    """
    if not model:
        raise BadSetting(
            "vlm_model is empty: give a local directory or a hub id of a Qwen3-VL or InternVL3 checkpoint (TAGSTREAM_VLM_MODEL)"
        )
    directory = DEMO_DIR if model == DEMO else Path(model)
    if not directory.is_dir():
        revision = _revision(model)
        return Weights(model, revision, None, f"{model}@{revision[:12]}")
    card = read_card(directory)
    return Weights(str(directory), "", card, card.version if card else digest_of(directory))


def vlm_version(weights: str, prompts: Prompts, pixels: int) -> str:
    """What identifies a tagger on these weights; ``pixels``: area of a picture."""
    return f"vlm{ALGORITHM}-{weights}-{prompts.version}-{prompts.handbook.version}-{pixels}"


def read_card(directory: Path) -> VlmCard | None:
    """What weights in a directory were trained with; None where they do not say.

    Raises:
        BadSetting: when the file is there and is no card.
    """
    path = directory / CARD_FILE
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=VlmCard)
    except msgspec.DecodeError as error:
        raise BadSetting(f"{path}: {error}; write it anew with `tagstream offline demo-models vlm`") from None


def check_card(card: VlmCard, prompts: Prompts, name: str) -> None:
    """Refuses weights that were trained with another prompt or handbook.

    Raises:
        BundleMismatch: naming which.
    """
    for what, trained, ours in (("prompt", card.prompt, prompts.style.version), ("handbook", card.handbook, prompts.handbook.version)):
        if trained != ours:
            raise BundleMismatch(
                f"{name}: was trained with {what} {trained}, this installation has {ours}; train it anew "
                f"(tagstream offline demo-models vlm), or use the {what} it was trained with"
            )


def digest_of(directory: Path) -> str:
    """A hash of the weights in a directory and what they are configured with, whatever the directory's name: ``sha256-`` and 16 digits."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.iterdir() if path.is_file() and path.suffix in (".json", ".safetensors", ".jinja")):
        with path.open("rb") as file:
            digest.update(f"\x00{path.name}\x00".encode() + hashlib.file_digest(file, "sha256").digest())
    return f"sha256-{digest.hexdigest()[:16]}"


def _revision(model: str) -> str:
    """The commit that a hub id stands for now; the one that was downloaded before where the hub does not answer."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model, "config.json")).parent.name
    except (OSError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadSetting(f"vlm_model: {model} cannot be loaded: it is no directory here, and of the hub: {first}") from None
