"""What a CUDA graph does, on a CPU: the operations of a step are repeated on the memory that they had, and Python is not asked again."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero"}


class Tape(TorchDispatchMode):
    """Keeps the operations that run under it. One whose result Python would wait for is refused, as in a stream that is captured."""

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func._schema.name in WAITING:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        made = func(*args, **(kwargs or {}))
        self._operations.append((func, args, kwargs or {}, made))
        return made

    def replay(self) -> None:
        for func, args, kwargs, made in self._operations:
            again = func(*args, **kwargs)
            pairs = [(made, again)] if isinstance(made, torch.Tensor) else zip(made, again, strict=True)
            for before, now in pairs:
                if isinstance(before, torch.Tensor) and before.untyped_storage().data_ptr() != now.untyped_storage().data_ptr():
                    before.copy_(now)


def record_tape(step: Any, undo: Any, device: torch.device) -> Any:
    """As ``models.vlm_steps.record_graph``."""
    for _ in range(2):
        step()
        undo()
    tape = Tape()
    with tape:
        step()
    undo()
    return tape.replay
