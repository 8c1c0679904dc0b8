"""``tagstream`` with accelerate's FSDP on a CPU, for tests: accelerate shards on accelerators alone, torch anywhere.

Started by torchrun with the variables that ``accelerate launch`` sets for offline/distil/launch/fsdp.yaml. Everything but the choice of the
device is theirs: the very sharding, gathering and saving that run on several GPUs.
"""

from typing import Any

from accelerate import state
from accelerate.utils import DistributedType

from tagstream import main

plain = state.AcceleratorState.__init__


def sharding(self: Any, *args: Any, fsdp_plugin: Any = None, **more: Any) -> None:
    """What accelerate does where there are several GPUs."""
    plain(self, *args, fsdp_plugin=fsdp_plugin, **more)
    if self.distributed_type == DistributedType.MULTI_CPU and fsdp_plugin is not None:
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin
        state.PartialState._shared_state["distributed_type"] = self.distributed_type


if __name__ == "__main__":
    state.AcceleratorState.__init__ = sharding
    main()
