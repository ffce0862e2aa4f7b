"""A double of NVIDIA's library (nvidia-ml-py): a machine with Tesla T4s, and how its calls fail.

Nothing of it was recorded on a GPU: units, error codes and texts are those of NVML's documentation, and the figures
are made up within the limits of a T4 (70 W, 1,590 MHz).
"""
from __future__ import annotations

from types import SimpleNamespace

NOT_SUPPORTED, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND = 3, 9, 12, 13
NO_PERMISSION, TIMEOUT, GPU_IS_LOST, RESET_REQUIRED, VERSION_MISMATCH, UNKNOWN = 4, 10, 15, 16, 18, 999
TEXTS = {
    NOT_SUPPORTED: "Not Supported", NO_PERMISSION: "Insufficient Permissions", DRIVER_NOT_LOADED: "Driver Not Loaded",
    TIMEOUT: "Timeout", LIBRARY_NOT_FOUND: "NVML Shared Library Not Found", FUNCTION_NOT_FOUND: "Function Not Found",
    GPU_IS_LOST: "GPU is lost", RESET_REQUIRED: "GPU requires restart",
    VERSION_MISMATCH: "RM has detected an NVML/RM version mismatch.", UNKNOWN: "Unknown Error",
}
T4 = {
    "nvmlDeviceGetTemperatureV": 61, "nvmlDeviceGetTemperature": 61, "sm": 1350, "memory": 5000,
    "nvmlDeviceGetPowerUsage": 68_420, "use": 97, "nvmlDeviceGetCurrentClocksEventReasons": 0x4,
    "nvmlDeviceGetCurrentClocksThrottleReasons": 0x4,
}


class NVMLError(Exception):
    """As the library's own: the code in `value`."""

    def __init__(self, value: int):
        super().__init__(TEXTS[value])
        self.value = value


class Nvml:
    """The library with GPUs whose figures are in `gpus`; an int in `failing` is the code with which a call fails.

    `failing` is by function, or by (function, number of the GPU). `lacking` are functions that this version of the
    library does not have.
    """

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2

    def __init__(self, *gpus: dict, failing: dict | None = None, lacking: tuple = ()):
        self.gpus = [{**T4, **gpu} for gpu in gpus or ({},)]
        self.failing = failing if failing is not None else {}
        self._lacking = lacking

    def __getattribute__(self, name: str):
        if name.startswith("nvml"):
            if name in self._lacking:
                raise AttributeError(f"module 'pynvml' has no attribute '{name}'")
            return lambda *arguments: self._called(name, *arguments)
        return super().__getattribute__(name)

    def _called(self, name: str, gpu=None, kind=None):
        for known in (name, (name, gpu), ("any", gpu)):
            if known in self.failing:
                raise NVMLError(self.failing[known])
        if name in SYSTEM:
            return SYSTEM[name](self, gpu)
        figures = self.gpus[gpu]
        if name == "nvmlDeviceGetClockInfo":
            return figures["sm" if kind == self.NVML_CLOCK_SM else "memory"]
        if name == "nvmlDeviceGetUtilizationRates":
            return SimpleNamespace(gpu=figures["use"], memory=40)
        return figures[name]


SYSTEM = {
    "nvmlInit": lambda nvml, gpu: None,
    "nvmlDeviceGetCount": lambda nvml, gpu: len(nvml.gpus),
    "nvmlDeviceGetHandleByIndex": lambda nvml, gpu: gpu,
    "nvmlDeviceGetName": lambda nvml, gpu: nvml.gpus[gpu].get("name", "Tesla T4"),
    "nvmlDeviceGetMemoryInfo": lambda nvml, gpu: SimpleNamespace(total=15_843_721_216, used=0, free=0),
    "nvmlDeviceGetCudaComputeCapability": lambda nvml, gpu: (7, 5),
    "nvmlDeviceGetEnforcedPowerLimit": lambda nvml, gpu: 70_000,
    "nvmlSystemGetDriverVersion": lambda nvml, gpu: "535.183.01",
    "nvmlSystemGetCudaDriverVersion_v2": lambda nvml, gpu: 12_020,
}
