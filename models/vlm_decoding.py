"""Greedy decoding held to a JSON schema by xgrammar, and how sure the model was of each token.

torch, transformers and xgrammar are imported with this module.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xgrammar
from msgspec import Struct
from numpy.typing import NDArray
from transformers import LogitsProcessor, StoppingCriteria

GRAMMARS_KEPT = 64


class Written(Struct, frozen=True):
    """What a model wrote. ``ends``: offset in bytes of ``text`` where each token ends; ``log_probabilities``: of each token, among all
    tokens, not only those that the schema allowed. ``complete``: it stopped by itself."""

    text: str
    ends: list[int]
    log_probabilities: NDArray[np.float64]
    complete: bool

    def confidence(self, start: int, end: int) -> float:
        """Geometric mean of the probabilities of the tokens within characters ``start`` to ``end``, in [0, 1]."""
        first, last = (len(self.text[:at].encode()) for at in (start, end))
        inside = [
            value
            for before, after, value in zip([0, *self.ends], self.ends, self.log_probabilities, strict=False)
            if after > first and before < last
        ]
        return float(np.exp(np.mean(inside))) if inside else 0.0


class Grammars:
    """Compiles schemas for one tokenizer and keeps the latest.

    Args:
        tokenizer: of the model.
        vocabulary: rows of the model's output, which may be more than the tokenizer has.
        stops: tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, stops: Sequence[int]) -> None:
        self.info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary, stop_token_ids=list(stops))
        self.tokens: list[bytes] = self.info.decoded_vocab
        self.stops = frozenset(stops)
        self._compiler = xgrammar.GrammarCompiler(self.info)
        self._kept: OrderedDict[str, xgrammar.CompiledGrammar] = OrderedDict()

    def of(self, schema: dict[str, Any]) -> xgrammar.CompiledGrammar:
        """The grammar of a schema; JSON without spaces between its parts, the properties in the schema's order."""
        key = json.dumps(schema)
        if key not in self._kept:
            self._kept[key] = self._compiler.compile_json_schema(key, any_whitespace=False, separators=(",", ":"))
            if len(self._kept) > GRAMMARS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def written(self, ids: Sequence[int], log_probabilities: Sequence[float]) -> Written:
        """Text of the tokens up to the first that ends an answer."""
        pieces: list[bytes] = []
        for token in ids:
            if token in self.stops:
                break
            pieces.append(self.tokens[token])
        ends = [int(end) for end in np.cumsum([len(piece) for piece in pieces])]
        return Written(
            b"".join(pieces).decode("utf-8", "replace"),
            ends,
            np.asarray(log_probabilities[: len(pieces)], np.float64),
            len(pieces) < len(ids),
        )


class Watch(LogitsProcessor):  # type: ignore[misc]
    """Limits each row of a greedy ``generate`` to its grammar, and notes how probable the chosen tokens were. For one call of it.

    Args:
        grammars: of each row; None leaves the row free.
        vocabulary: rows of the model's output.
        never: tokens that no answer has: those of the chat template, which a JSON string would allow.
    """

    def __init__(self, grammars: Sequence["xgrammar.CompiledGrammar | None"], vocabulary: int, never: Sequence[int] = ()) -> None:
        self._never = list(never)
        self._matchers = {row: xgrammar.GrammarMatcher(one) for row, one in enumerate(grammars) if one is not None}
        self._mask = xgrammar.allocate_token_bitmask(len(grammars), vocabulary)
        self._filler = xgrammar.BatchGrammarMatcher()
        self._before: tuple[torch.Tensor, torch.Tensor] | None = None
        self._chosen: list[torch.Tensor] = []

    def arguments(self) -> dict[str, Any]:
        """What ``generate`` is given to be watched."""
        return {"logits_processor": [self], "stopping_criteria": [_Reader(self)]}

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """See ``transformers.LogitsProcessor``."""
        log_sums = torch.logsumexp(scores.float(), dim=-1, keepdim=True)
        allowed = scores.clone()
        if self._matchers:
            self._mask.fill_(-1)
            if open_ := {row: one for row, one in self._matchers.items() if not one.is_terminated()}:
                self._filler.batch_fill_next_token_bitmask(list(open_.values()), self._mask, list(open_))
            allowed.masked_fill_(~_bits(self._mask.to(scores.device), scores.shape[1]), float("-inf"))
        allowed[:, self._never] = float("-inf")
        self._before = (scores, log_sums)
        return allowed

    def read(self, tokens: torch.Tensor) -> None:
        """Takes note of the tokens that were chosen from the latest scores, shape (rows,)."""
        assert self._before is not None
        scores, log_sums = self._before
        self._before = None
        self._chosen.append((scores.gather(1, tokens[:, None]).float() - log_sums)[:, 0])
        read = tokens.tolist()
        for row, matcher in self._matchers.items():
            if not matcher.is_terminated() and not matcher.accept_token(read[row]):
                raise RuntimeError(f"token {read[row]} was chosen against the grammar")

    def log_probabilities(self) -> NDArray[np.float64]:
        """Of the tokens that were chosen, shape (rows, steps)."""
        return torch.stack(self._chosen, dim=1).double().cpu().numpy()


class _Reader(StoppingCriteria):  # type: ignore[misc]
    """Lets a watch read each token before the next step is launched: what is asked of a device after that waits for the step, and the
    grammars would be at work after the device in place of beside it. Stops nothing."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __call__(self, input_ids: torch.Tensor, scores: Any, **others: Any) -> torch.Tensor:
        """See ``transformers.StoppingCriteria``."""
        self._watch.read(input_ids[:, -1])
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _bits(mask: torch.Tensor, count: int) -> torch.Tensor:
    """The first ``count`` bits of each row of 32-bit words. xgrammar's own kernels want a compiler on a machine with a GPU."""
    shifts = torch.arange(32, dtype=torch.int32, device=mask.device)
    return ((mask[:, :, None] >> shifts) & 1).bool().reshape(len(mask), -1)[:, :count]
