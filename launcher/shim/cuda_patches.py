"""Makes DeepSpeed 0.19.6 update the weights of OpenRLHF 0.11.2's policy part by part, in less GPU memory."""

import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from import_patches import Patches, replace

GROUP = 250_000_000
"""Parameters that are updated together; a larger tensor makes a group of its own."""
STREAM = "SECOND_OPINION_ADAM_STREAM"
"""Set for a run whose optimizer's state lives in the machine's own memory."""


def parameter_groups(deepspeed_utils: ModuleType) -> None:
    """ZeRO stages 1 and 2 flatten the gradients of one parameter group after the other and copy them to fp32.

    Without this nearly all parameters are one group, and an update needs 6 bytes more for each of them for a moment.
    """

    def get_optimizer_grouped_parameters(model, weight_decay, no_decay_name_list=None):
        given = (no_decay_name_list,) if no_decay_name_list is not None else ()
        groups = original(model, weight_decay, *given)
        return [part for group in groups for part in divided(group)]

    original = replace(deepspeed_utils, "get_optimizer_grouped_parameters", get_optimizer_grouped_parameters)


def divided(group: dict[str, Any]) -> Iterator[dict[str, Any]]:
    part, size = [], 0
    for parameter in group["params"]:
        if part and size + parameter.numel() > GROUP:
            yield {**group, "params": part}
            part, size = [], 0
        part.append(parameter)
        size += parameter.numel()
    yield {**group, "params": part}


class StreamedState:
    """Master weights and moments of an optimizer, in pinned memory of the machine but for the group that is updated."""

    def __init__(self, optimizer):
        """optimizer: DeepSpeed's of ZeRO stage 1 or 2, its master weights on the GPU."""
        import torch

        self.optimizer = optimizer
        self.homes: dict[tuple[int, str], torch.Tensor] = {}
        self.here: int | None = None
        """The group whose state is on the GPU."""
        self.leaving = torch.cuda.Stream() if torch.cuda.is_available() else None
        for group in range(len(optimizer.single_partition_of_fp32_groups)):
            self.here = group
            self.put_away()
        self.wait()
        torch.cuda.empty_cache()  # the first games come before the first update

    def bring(self, group: int) -> None:
        self.put_away()
        self.here = group
        device = self.optimizer.bit16_groups_flat[group].device
        for _, tensor in self._tensors():
            tensor.data = tensor.data.to(device, non_blocking=True)

    def put_away(self) -> None:
        """Starts the copies; `wait` ends them. The next group can come while this one leaves."""
        import torch

        if self.here is None:
            return
        if self.leaving:
            self.leaving.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.leaving):
            for name, tensor in self._tensors():
                home = self._home(name, tensor)
                home.copy_(tensor.data, non_blocking=True)
                if self.leaving:
                    tensor.data.record_stream(self.leaving)
                tensor.data = home
        self.here = None

    def wait(self) -> None:
        if self.leaving:
            self.leaving.synchronize()

    def _tensors(self) -> Iterator[tuple[str, Any]]:
        master = self.optimizer.single_partition_of_fp32_groups[self.here]
        yield "master", master
        for name, value in self.optimizer.optimizer.state.get(master, {}).items():
            if getattr(value, "shape", None) == master.shape:
                yield name, value

    def _home(self, name: str, tensor):
        import torch

        key = self.here, name
        if key not in self.homes:
            self.homes[key] = torch.empty_like(tensor, device="cpu", pin_memory=self.leaving is not None)
        return self.homes[key]


def streamed_adam(stage_1_and_2: ModuleType) -> None:
    """The optimizer's state comes to the GPU group by group, and leaves it again.

    Without this it lies on the GPU, 12 bytes a parameter, or the whole update is arithmetic of the CPU.
    """

    def initialize_optimizer_states(self):
        """In place of gradients of zeros for all groups, which Adam has no use for."""
        self.streamed_state = StreamedState(self)

    def _get_preflattened_grad_partition(self, group_idx):
        """The first that an update asks for a group."""
        self.streamed_state.bring(group_idx)
        return preflattened(self, group_idx)

    def step(self, closure=None):
        update(self, closure)
        self.streamed_state.put_away()
        self.streamed_state.wait()

    def _lazy_init_hp_params_optimizer_state(self):
        """Its links would hold the state on the GPU."""

    owner = "DeepSpeedZeroOptimizer"
    replace(stage_1_and_2, f"{owner}.initialize_optimizer_states", initialize_optimizer_states)
    preflattened = replace(stage_1_and_2, f"{owner}._get_preflattened_grad_partition", _get_preflattened_grad_partition)
    update = replace(stage_1_and_2, f"{owner}.step", step)
    replace(stage_1_and_2, f"{owner}._lazy_init_hp_params_optimizer_state", _lazy_init_hp_params_optimizer_state)


PATCHES: Patches = {"openrlhf.utils.deepspeed.deepspeed_utils": parameter_groups}
if os.environ.get(STREAM):
    PATCHES = {**PATCHES, "deepspeed.runtime.zero.stage_1_and_2": streamed_adam}
