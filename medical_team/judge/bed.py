"""Where a judge model's weights lie while the GPU belongs to others."""

from medical_team.judge.model_files import JudgeError


class Bed:
    """Pinned memory of the CPU, as large as the weights. They are frozen, so they are copied out only once."""

    def __init__(self, model):
        import torch

        self.taken = False
        self._weights = list(model.parameters())
        sizes = [-(-weight.numel() * weight.element_size() // 256) * 256 for weight in self._weights]
        self._memory = torch.empty(sum(sizes), dtype=torch.uint8)
        # pinned as it is: torch's own allocator would round it up to a power of two
        code = torch.cuda.cudart().cudaHostRegister(self._memory.data_ptr(), self._memory.numel(), 0)
        if int(code):
            raise JudgeError(
                f"the judge cannot sleep: {self._memory.numel() / 1e9:.1f} GB could not be pinned ({code})"
            )
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        self._copies = [
            self._memory[start : start + weight.numel() * weight.element_size()].view(weight.dtype).view(weight.shape)
            for start, weight in zip(starts, self._weights, strict=True)
        ]
        for kept, weight in zip(self._copies, self._weights, strict=True):
            kept.copy_(weight.data, non_blocking=True)
        torch.cuda.synchronize()

    def lie_down(self) -> None:
        import torch

        for kept, weight in zip(self._copies, self._weights, strict=True):
            weight.data = kept
        torch.cuda.empty_cache()
        self.taken = True

    def get_up(self, device) -> None:
        import torch

        for kept, weight in zip(self._copies, self._weights, strict=True):
            weight.data = kept.to(device, non_blocking=True)
        torch.cuda.synchronize()
        self.taken = False
