"""Decoding steps recorded as CUDA graphs: one launch for a token in place of hundreds from Python.

A step of a small model takes a GPU a few milliseconds, and Python several times as long to launch its kernels one by one. Where the cache
has a fixed size every step is the same kernels on the same memory, so the first one is recorded and the others replay it. transformers'
``generate`` stays as it is: with such a cache it asks the model for a compiled forward pass, and is given this one. What ``torch.compile``
would give in its place needs a C compiler, and compiles for most of a minute at each new shape of a batch; recording takes as long as a
few steps. The caches of a model with sliding windows count in Python, which no record sees: its steps are launched one by one.

torch and transformers are imported with this module.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from transformers import CompileConfig, StaticCache
from transformers.cache_utils import StaticLayer

LOG = logging.getLogger(__name__)
GRAIN = 256  # caches have a multiple of this length, so that batches of about the same length share one
OF_PICTURES = {"mm_token_type_ids", "image_grid_thw"}  # where pictures lie; a step finds in its positions what it needs of it
Step = Callable[[], None]
Record = Callable[[Step, Step, torch.device], Step]


def record_graph(step: Step, undo: Step, device: torch.device) -> Step:
    """Records what ``step`` launches on a CUDA device, after two runs of it in which libraries choose their kernels.

    Args:
        step: the work. Recording it does not do it.
        undo: makes up for one run of it.
        device: where it runs.

    Returns:
        What does the work once.
    """
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(2):
                step()
                undo()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may use the device meanwhile
            step()
    return graph.replay


class RecordedSteps:
    """The forward pass of one decoding step, recorded once for each shape of batch. For one thread.

    Args:
        model: a transformers model, which is changed: ``generate`` with what ``arguments`` gives uses recorded steps.
        places: tokens for which the kept caches have room together; the latest one is kept however large.
        record: what makes a step repeatable.
    """

    def __init__(self, model: Any, places: int = 65_536, record: Record = record_graph) -> None:
        self._model = model
        self._places = places
        self._record = record
        self._kept: OrderedDict[tuple[int, int], _Kept] = OrderedDict()
        self._works = all(type(layer) is StaticLayer for layer in StaticCache(model.config, max_cache_len=GRAIN).layers)
        self._always = CompileConfig()
        self._always._compile_all_devices = True
        model.get_compiled_call = lambda config: self._step  # noqa: ARG005

    def arguments(self, rows: int, length: int) -> dict[str, Any]:
        """What ``generate`` is given so that it uses these steps: an empty cache for ``rows`` of ``length`` tokens, prompt and answer. It
        serves until the next call."""
        if not self._works:
            return {}
        key = (rows, -(-length // GRAIN) * GRAIN)
        if key not in self._kept:
            self._kept[key] = _Kept(self._model, key[1])
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(rows * length for rows, length in self._kept) > self._places:
            self._kept.popitem(last=False)
        self._kept[key].cache.reset()
        return {"past_key_values": self._kept[key].cache, "compile_config": self._always}

    def free(self) -> bool:
        """Lets go of all caches and records. Whether there were others than the latest."""
        others = len(self._kept) > 1
        self._kept.clear()
        return others

    def _step(self, **given: Any) -> Any:
        kept = next(reversed(self._kept.values()), None)
        if kept is None or kept.cache is not given["past_key_values"]:
            return self._model(**given)
        given = {name: value for name, value in given.items() if name not in OF_PICTURES}
        if kept.replay is None and self._works:
            try:
                kept.record(given, self._record)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._works = False
                self._kept.clear()
                LOG.warning("decoding steps cannot be recorded on this device, so they are launched one by one: %s", error)
        return self._model(**given) if kept.replay is None else kept.run(given)


class _Kept:
    """A cache, and the step that was recorded on it with its inputs and outputs."""

    def __init__(self, model: Any, length: int) -> None:
        self._model = model
        self.cache = StaticCache(model.config, max_cache_len=length)
        self.replay: Step | None = None
        self._inputs: dict[str, Any] = {}
        self._outputs: Any = None

    def record(self, given: dict[str, Any], record: Record) -> None:
        """The step itself is still to be done after it."""
        self._inputs = {name: _own(value) for name, value in given.items()}
        lengths = [layer.cumulative_length for layer in self.cache.layers]
        before = [length.clone() for length in lengths]

        def step() -> None:
            self._outputs = self._model(**self._inputs)

        def undo() -> None:
            for length, value in zip(lengths, before, strict=True):
                length.copy_(value)

        try:
            self.replay = record(step, undo, self._model.device)
        except RuntimeError:
            undo()
            raise

    def run(self, given: dict[str, Any]) -> Any:
        """Does the step with other tokens, positions and mask; what it gives is overwritten by the next."""
        assert self.replay is not None
        _fill(self._inputs, given)
        self.replay()
        return self._outputs


def _own(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _own(one) for name, one in value.items()}
    return value.clone() if isinstance(value, torch.Tensor) else value


def _fill(own: dict[str, Any], given: dict[str, Any]) -> None:
    for name, value in given.items():
        if isinstance(value, dict):
            _fill(own[name], value)
        elif isinstance(value, torch.Tensor):
            own[name].copy_(value)
