"""Run as a script: writes tiny encoders of several kinds and, by transformers, the vectors that all encoders under test must equal.

It runs in a process of its own because the tests also assert that the online path never imports torch.
"""

import json
import sys
from pathlib import Path

import numpy as np

ENGLISH = [
    "running shoes",
    "a",
    "Nike Pegasus 41 review",
    "linen summer dress for petite women",
    "café crème",
    "noise-cancelling headphones, under $50!",
    "how to keep a sourdough starter alive while travelling for three weeks in winter",
    " ".join(["long"] * 400),
]
CHINESE = ["红色跑鞋", "跑鞋 推荐", "成都火锅"]
PROMPT = "running "
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 40}
GEMMA = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48,
    "max_position_embeddings": 64, "query_pre_attn_scalar": 8, "use_bidirectional_attention": True, "sliding_window": 40,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip


def main(packaged: Path, out: Path) -> None:
    import torch
    from transformers import (
        BertConfig,
        BertModel,
        Gemma3TextConfig,
        Gemma3TextModel,
        MPNetConfig,
        MPNetModel,
        XLMRobertaConfig,
        XLMRobertaModel,
    )

    torch.manual_seed(7)
    vocabulary = {"vocab_size": 30522, "pad_token_id": 0}
    pieces = _write_pieces(out / "pieces.json")
    made = {
        "bert-cls": (BertModel(BertConfig(**SHAPE, **vocabulary)), "cls", packaged / "tokenizer.json"),
        "mpnet-mean": (MPNetModel(MPNetConfig(**SHAPE, vocab_size=30522, pad_token_id=1)), "mean", packaged / "tokenizer.json"),
        "xlmr-mean": (
            XLMRobertaModel(XLMRobertaConfig(**SHAPE, vocab_size=pieces, pad_token_id=1)),
            "mean",
            out / "pieces.json",
        ),
        "gemma-mean": (Gemma3TextModel(Gemma3TextConfig(**GEMMA, vocab_size=pieces)), "mean", out / "pieces.json"),
        "mpnet-dense": (MPNetModel(MPNetConfig(**SHAPE, vocab_size=30522, pad_token_id=1)), "cls", packaged / "tokenizer.json"),
    }
    for name, (model, pooling, tokenizer) in made.items():
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.2)
        directory = out / name
        model.save_pretrained(directory)
        (directory / "tokenizer.json").write_bytes(tokenizer.read_bytes())
        (directory / "1_Pooling").mkdir()
        (directory / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}_token{'s' * (pooling == 'mean')}": True}))
        (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 36}))
        modules = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
        dense = _write_dense(directory) if name in ("gemma-mean", "mpnet-dense") else []
        (directory / "modules.json").write_text(json.dumps(modules + [{"path": path, "type": "x.Dense"} for path in dense]))
        _save(out / f"{name}.npy", directory, pooling, 21 if name == "gemma-mean" else 36)
    _save(out / "packaged.npy", packaged, "mean", 256)


def _write_pieces(path: Path) -> int:
    """A Unigram tokenizer that knows every character of the test texts and Chinese; its vocabulary's size."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    probe = "红色跑鞋适合初学者的缓震推荐美食旅行护肤品猫咪编织日落民宿咖啡"
    characters = sorted(set("".join(ENGLISH + CHINESE) + probe + "▁") - {" "})
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), *((character, -3.0) for character in characters)]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("▁running", -2.0), ("跑鞋", -2.0)], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.save(str(path))
    return len(pieces) + 2


def _write_dense(directory: Path) -> list[str]:
    """Two dense layers, and prompts of which the second is the default."""
    from safetensors.numpy import save_file

    random = np.random.default_rng(3)
    for path, shape in (("2_Dense", (48, 32)), ("3_Dense", (24, 48))):
        (directory / path).mkdir()
        config = {
            "in_features": shape[1],
            "out_features": shape[0],
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        }
        (directory / path / "config.json").write_text(json.dumps(config))
        save_file({"linear.weight": random.normal(size=shape).astype(np.float32)}, directory / path / "model.safetensors")
    prompts = {"prompts": {"query": "a ", "tags": PROMPT}, "default_prompt_name": "tags"}
    (directory / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return ["2_Dense", "3_Dense"]


def _save(path: Path, directory: Path, pooling: str, limit: int) -> None:
    import torch
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
    from transformers import AutoModel

    dense = [load_file(place)["linear.weight"] for place in sorted(directory.glob("*_Dense/model.safetensors"))]
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    model = AutoModel.from_pretrained(directory, attn_implementation="eager", dtype=torch.float32).eval()
    vectors = []
    with torch.inference_mode():
        for text in ENGLISH + CHINESE:
            hidden = model(torch.tensor([tokenizer.encode(PROMPT * bool(dense) + text).ids])).last_hidden_state[0]
            vector = (hidden[0] if pooling == "cls" else hidden.mean(0)).numpy()
            for weight in dense:
                vector = weight @ vector
            vectors.append(vector)
    np.save(path, np.stack(vectors) / np.linalg.norm(np.stack(vectors), axis=1, keepdims=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
