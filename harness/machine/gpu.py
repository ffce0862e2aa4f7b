"""What NVIDIA's GPUs report while a detector is measured: temperature, clocks, power and why they slow down, by NVML.

Needs the package nvidia-ml-py, which is optional. Source: NVML API reference, groups nvmlDeviceQueries,
nvmlClocksEventReasons and nvmlReturn_t. Checked against a double of the library; not yet run on a GPU.
"""
from __future__ import annotations

import math
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

PACKAGE = "nvidia-ml-py"
# Bits of the clocks event reasons (nvml.h), which older drivers call throttle reasons.
IDLE = 0x1
POWER_CAP, POWER_BRAKE = 0x4, 0x80
HARDWARE_SLOWDOWN = 0x8  # for any of the two, and on older drivers without saying which
SOFTWARE_THERMAL, HARDWARE_THERMAL = 0x20, 0x40
LOST = (15, 16)  # NVML_ERROR_GPU_IS_LOST, NVML_ERROR_RESET_REQUIRED
ADVICE = {
    9: "load NVIDIA's driver: `nvidia-smi` must list the GPU",  # NVML_ERROR_DRIVER_NOT_LOADED
    12: "install NVIDIA's driver: libnvidia-ml.so.1 comes with it",  # NVML_ERROR_LIBRARY_NOT_FOUND
    18: "restart the machine: driver and library have different versions",  # NVML_ERROR_LIB_RM_VERSION_MISMATCH
}
USUAL_ADVICE = "`nvidia-smi` must list the GPU"
CLOSED = object()  # in place of the handle of a GPU that this user may not open


class Reading(NamedTuple):
    """One figure of a GPU: how the library is asked for it, newest way first, and the most that is plausible."""

    ask: tuple[Callable[[Any, Any], float], ...]
    most: float


READINGS = {
    "celsius": Reading((lambda nvml, gpu: nvml.nvmlDeviceGetTemperatureV(gpu, nvml.NVML_TEMPERATURE_GPU),
                        lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)), 200),
    "mhz": Reading((lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),), 1e5),
    "memory_mhz": Reading((lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),), 1e5),
    "watts": Reading((lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,), 1e4),
    "busy": Reading((lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,), 1),
}
REASONS = Reading((lambda nvml, gpu: nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu),
                   lambda nvml, gpu: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)), 2**63)
CLOCKS = ("mhz", "memory_mhz")  # which fall when there is nothing to do
THERMAL, POWER, HARDWARE, GONE = "thermal_throttling", "power_throttling", "hardware_slowdown", "lost"  # 0 or 1
GAUGE = re.compile(rf"gpu(\d+)/({'|'.join((*READINGS, THERMAL, POWER, HARDWARE, GONE))})")


class Gauge(NamedTuple):
    """A figure of a sample that is a state and not a counter: which GPU's, and which of its figures."""

    gpu: int
    figure: str


def gauge(name: str) -> Gauge | None:
    """The gauge of that name in a sample, such as gpu0/celsius; None for what is not one."""
    found = GAUGE.fullmatch(name)
    return Gauge(int(found[1]), found[2]) if found else None


class GpuLost(Exception):
    """The GPU fell off the bus, or needs a reset."""


class Gpus:
    """The GPUs of this machine. `problem` says why they cannot be read; '' where they can.

    `nvml` stands in for the library in tests. Nothing in here raises: what a GPU does not report is left out.
    """

    def __init__(self, nvml: Any = None):
        self._nvml, self._gpus, self.problem = nvml, {}, ""
        try:
            self._nvml = nvml or import_module("pynvml")
            self._nvml.nvmlInit()
            self._gpus = {number: self._handle(number) for number in range(self._nvml.nvmlDeviceGetCount())}
        except ImportError:
            self.problem = f"the package {PACKAGE} is not installed: pip install {PACKAGE}"
        except Exception as error:  # of the library, whichever version it is
            self.problem = f"NVML: {error}; {ADVICE.get(getattr(error, 'value', None), USUAL_ADVICE)}"
        if not self._gpus and not self.problem:
            self.problem = f"NVML lists no GPU; {USUAL_ADVICE}"

    def sample(self) -> dict[str, float]:
        """The figures of each GPU by name, such as gpu0/celsius; those that are not reported are left out.

        mhz and memory_mhz are of a GPU that is at work; watts; busy: share of the time with a kernel on it; 1 or 0:
        thermal_throttling, power_throttling, hardware_slowdown (for neither of the two reasons), lost.
        """
        return {f"gpu{number}/{name}": value for number, gpu in self._gpus.items()
                for name, value in self._figures(gpu).items()}

    @property
    def lost(self) -> str:
        """Which GPUs are lost, and what to do, in words; '' if none is."""
        numbers = [gauge(name).gpu for name, value in self.sample().items() if name.endswith(f"/{GONE}") and value]
        advice = "`sudo dmesg | grep -i xid` shows why, and a restart of the machine brings it back"
        return "; ".join(f"GPU {number} is lost: {advice}" for number in numbers)

    def facts(self) -> dict[str, Any]:
        """Driver, CUDA version, and the names, memory in bytes, compute capability and power limit of the GPUs."""
        if self.problem:
            return {"gpu_problem": self.problem}
        nvml = self._nvml
        cuda = _reported(lambda: nvml.nvmlSystemGetCudaDriverVersion_v2())
        return {
            "gpus": len(self._gpus),
            "gpu": self._of_all(nvml.nvmlDeviceGetName),
            "gpu_memory": self._of_all(lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total),
            "gpu_compute_capability": self._of_all(lambda gpu: "{}.{}".format(
                *nvml.nvmlDeviceGetCudaComputeCapability(gpu))),
            "gpu_power_limit_watts": self._of_all(lambda gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000),
            "nvidia_driver": _reported(nvml.nvmlSystemGetDriverVersion),
            "cuda": cuda and f"{cuda // 1000}.{cuda % 1000 // 10}",
        }

    def _handle(self, number: int) -> Any:
        """The library's handle; None for a GPU that is lost, `CLOSED` for one that may not be opened."""
        try:
            return self._nvml.nvmlDeviceGetHandleByIndex(number)
        except self._nvml.NVMLError as error:
            return None if error.value in LOST else CLOSED

    def _figures(self, gpu: Any) -> dict[str, float]:
        if gpu is CLOSED:
            return {}
        try:
            if gpu is None:
                raise GpuLost
            found = {name: self._read(reading, gpu) for name, reading in READINGS.items()}
            reasons = self._read(REASONS, gpu)
        except GpuLost:
            return {GONE: 1.0}
        known = {} if reasons is None else throttling(int(reasons))
        is_idle = found["busy"] == 0 if reasons is None else int(reasons) & IDLE
        found = {**found, **known, **dict.fromkeys(CLOCKS if is_idle else ())}
        return {GONE: 0.0, **{name: value for name, value in found.items() if value is not None}}

    def _read(self, reading: Reading, gpu: Any) -> float | None:
        """The figure; None where this GPU or this driver has none. Raises GpuLost."""
        for ask in reading.ask:
            try:
                value = float(ask(self._nvml, gpu))
            except Exception as error:  # an older library lacks functions; a driver does not know all of them
                if getattr(error, "value", None) in LOST:
                    raise GpuLost from None
                continue
            return value if math.isfinite(value) and 0 <= value <= reading.most else None
        return None

    def _of_all(self, ask: Callable[[Any], Any]) -> Any:
        """The fact of all GPUs: once where they are equal, else a text with each."""
        found = [_reported(ask, gpu) for gpu in self._gpus.values()]
        return found[0] if len(set(found)) == 1 else ", ".join(map(str, found))


def _reported(ask: Callable[..., Any], *gpu: Any) -> Any:
    """What the library says, without the bytes of its older versions; None where it fails."""
    try:
        found = ask(*gpu)
    except Exception:
        return None
    return found.decode(errors="replace") if isinstance(found, bytes) else found


def throttling(reasons: int) -> dict[str, float]:
    """Which kinds of slowdown the bits of the clocks event reasons stand for, each 0 or 1."""
    thermal, power = reasons & (SOFTWARE_THERMAL | HARDWARE_THERMAL), reasons & (POWER_CAP | POWER_BRAKE)
    is_explained = reasons & (HARDWARE_THERMAL | POWER_BRAKE)
    return {THERMAL: float(bool(thermal)), POWER: float(bool(power)),
            HARDWARE: float(bool(reasons & HARDWARE_SLOWDOWN and not is_explained))}
