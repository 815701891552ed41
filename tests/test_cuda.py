from pathlib import Path

import pytest

from launcher.cuda import Driver, Gpu, compiler, driver, problems

H100 = Gpu("NVIDIA H100", (9, 0))
NVCC = Path("/usr/local/cuda/bin/nvcc")


class Nvml:
    """Answers as pynvml does."""

    class NVMLError(Exception):
        pass

    def __init__(self, cuda: int, *gpus: Gpu, broken: str = ""):
        self.cuda, self.gpus, self.broken = cuda, gpus, broken

    def nvmlInit(self):
        if self.broken:
            raise self.NVMLError(self.broken)

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.gpus[index]

    def nvmlDeviceGetName(self, gpu):
        return gpu.name

    def nvmlDeviceGetCudaComputeCapability(self, gpu):
        return list(gpu.capability)

    def nvmlSystemGetDriverVersion(self):
        return "570.10"

    def nvmlSystemGetCudaDriverVersion(self):
        return self.cuda


def test_a_machine_that_fits_has_no_problem():
    found = driver(Nvml(13000, H100))
    assert found == Driver("570.10", 13000, (H100,))
    assert list(problems(found, NVCC)) == []


@pytest.mark.parametrize(
    ("found", "nvcc", "text"),
    [
        (driver(Nvml(0, broken="Driver Not Loaded")), NVCC,
         "no NVIDIA GPU answers here (Driver Not Loaded): install NVIDIA's driver 580 or newer"),
        (driver(Nvml(12080, H100)), NVCC,
         "driver 570.10 runs CUDA 12.8, the engine needs 13.0: install NVIDIA's driver 580 or newer"),
        (driver(Nvml(13000, Gpu("Tesla T4", (7, 5)))), NVCC,
         "Tesla T4 has compute capability 7.5, bf16 training needs 8.0: use an Ampere GPU or a newer one"),
        (driver(Nvml(13000)), NVCC, "the NVIDIA driver finds no GPU: see whether `nvidia-smi` lists one"),
        (driver(Nvml(13000, H100)), None,
         "DeepSpeed compiles its optimizer in the first run, and there is no nvcc: install CUDA 13's, or set CUDA_HOME"),
    ],
)  # fmt: skip
def test_each_thing_that_does_not_fit_is_one_line_that_says_what_to_do(found, nvcc, text):
    assert list(problems(found, nvcc)) == [text]


def test_the_compiler_is_found_where_torch_looks(tmp_path):
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.touch(mode=0o755)
    assert compiler({"CUDA_HOME": str(tmp_path)}) == nvcc
    assert compiler({"PATH": str(nvcc.parent)}) in (nvcc, Path("/usr/local/cuda/bin/nvcc"))
