"""GPUs are sampled as far as they report; whatever NVML answers, nothing raises and nothing wrong is recorded."""
from __future__ import annotations

import json
import sys
import types

import pytest

from harness.machine.gpu import Gauge, Gpus, gauge, throttling
from harness.machine.sampler import Sampler
from tests.harness.machine import nvml as double
from tests.harness.machine.nvml import Nvml

BUSY = {"celsius": 61.0, "mhz": 1350.0, "memory_mhz": 5000.0, "watts": 68.42, "busy": 0.97, "lost": 0.0,
        "thermal_throttling": 0.0, "power_throttling": 1.0, "hardware_slowdown": 0.0}
REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
THROTTLING = {"thermal_throttling", "power_throttling", "hardware_slowdown"}


def figures(nvml, number=0) -> dict:
    """What a sample has of one GPU."""
    return {name.split("/")[1]: value for name, value in Gpus(nvml).sample().items() if gauge(name).gpu == number}


def test_a_gpu_at_work_is_reported_whole():
    assert figures(Nvml()) == pytest.approx(BUSY)


def test_each_gpu_has_figures_of_its_own():
    gpus = Nvml({}, {"nvmlDeviceGetTemperatureV": 70, "sm": 1590})
    assert figures(gpus) == pytest.approx(BUSY)
    assert figures(gpus, 1) == pytest.approx({**BUSY, "celsius": 70.0, "mhz": 1590.0})


def test_a_sample_is_strict_json_of_gauges_alone():
    sample = json.loads(json.dumps(Gpus(Nvml()).sample(), allow_nan=False))
    assert len(sample) == len(BUSY) and all(map(gauge, sample))


@pytest.mark.parametrize(("name", "expected"), [
    ("gpu0/celsius", Gauge(0, "celsius")), ("gpu12/thermal_throttling", Gauge(12, "thermal_throttling")),
    ("neuron0/hw_error", None), ("gpu0/else", None), ("gpu/celsius", None), ("gpu0/celsius\n", None),
])
def test_counters_are_not_gauges(name, expected):
    assert gauge(name) == expected


ABSENT = {
    "temperature": ({"nvmlDeviceGetTemperatureV": 3, "nvmlDeviceGetTemperature": 3}, {"celsius"}),
    "clocks": ({"nvmlDeviceGetClockInfo": 3}, {"mhz", "memory_mhz"}),
    "power": ({"nvmlDeviceGetPowerUsage": 3}, {"watts"}),
    "use": ({"nvmlDeviceGetUtilizationRates": 3}, {"busy"}),
    "reasons": (dict.fromkeys(REASONS, 3), THROTTLING),
    "a timeout": ({"nvmlDeviceGetPowerUsage": 10}, {"watts"}),
    "an unknown error": ({"nvmlDeviceGetPowerUsage": 999}, {"watts"}),
    "no permission": ({"nvmlDeviceGetPowerUsage": 4}, {"watts"}),
}


@pytest.mark.parametrize("case", ABSENT)
def test_a_single_value_that_is_not_supported_is_left_out_alone(case):
    failing, absent = ABSENT[case]
    assert figures(Nvml(failing=failing)) == pytest.approx({n: v for n, v in BUSY.items() if n not in absent})


@pytest.mark.parametrize("older", ["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetTemperatureV"])
@pytest.mark.parametrize("how", ["driver", "library"])
def test_an_older_driver_or_library_is_asked_by_the_older_function(older, how):
    old = Nvml(failing={older: double.FUNCTION_NOT_FOUND}) if how == "driver" else Nvml(lacking=(older,))
    assert figures(old) == pytest.approx(BUSY)


@pytest.mark.parametrize(("name", "value", "absent"), [
    ("nvmlDeviceGetTemperatureV", 0xFFFFFFFF, "celsius"), ("sm", 0xFFFFFFFF, "mhz"), ("memory", 2**31, "memory_mhz"),
    ("nvmlDeviceGetPowerUsage", 0xFFFFFFFF, "watts"), ("use", 4096, "busy"),
])
def test_a_value_that_no_gpu_has_is_left_out(name, value, absent):
    assert set(BUSY) - set(figures(Nvml({name: value}))) == {absent}


BITS = {
    "none": (0x0, ()), "idle": (0x1, ()), "clocks set": (0x2, ()), "power cap": (0x4, ("power_throttling",)),
    "hardware, unexplained": (0x8, ("hardware_slowdown",)), "sync boost": (0x10, ()),
    "software thermal": (0x20, ("thermal_throttling",)), "hardware thermal": (0x48, ("thermal_throttling",)),
    "power brake": (0x88, ("power_throttling",)), "display": (0x100, ()),
    "both": (0x24, ("thermal_throttling", "power_throttling")),
    "software thermal beside an unexplained one": (0x28, ("thermal_throttling", "hardware_slowdown")),
    "reasons of the future": (0xF000, ()),
}


@pytest.mark.parametrize("case", BITS)
def test_the_bits_of_the_reasons_are_those_of_the_header(case):
    bits, on = BITS[case]
    assert {name for name, value in throttling(bits).items() if value} == set(on)


@pytest.mark.parametrize("idle", [dict.fromkeys(REASONS, 0x1), {"use": 0}], ids=["by its reasons", "by its use"])
def test_clocks_of_a_gpu_without_work_are_left_out(idle):
    failing = {} if REASONS[0] in idle else dict.fromkeys(REASONS, 3)
    assert not {"mhz", "memory_mhz"} & set(figures(Nvml(idle, failing=failing)))


@pytest.mark.parametrize("code", [double.GPU_IS_LOST, double.RESET_REQUIRED])
def test_a_gpu_that_is_lost_in_the_middle_is_all_that_is_reported_of_it(code):
    nvml = Nvml({}, {})
    gpus = Gpus(nvml)
    assert gpus.sample()["gpu0/lost"] == 0
    nvml.failing[("any", 0)] = code
    sample = gpus.sample()
    assert {name: value for name, value in sample.items() if name.startswith("gpu0/")} == {"gpu0/lost": 1}
    assert sample["gpu1/lost"] == 0 and sample["gpu1/celsius"] == 61


def test_lost_gpus_are_named_with_what_to_do():
    assert Gpus(Nvml({}, {})).lost == ""
    gpus = Gpus(Nvml({}, {}, failing={("any", 1): double.RESET_REQUIRED}))
    assert gpus.lost == ("GPU 1 is lost: `sudo dmesg | grep -i xid` shows why, and a restart of the machine brings it "
                         "back")


def test_a_gpu_that_is_lost_from_the_start_is_reported_as_lost_and_the_others_as_they_are():
    gpus = Gpus(Nvml({}, {}, failing={("nvmlDeviceGetHandleByIndex", 0): double.GPU_IS_LOST}))
    assert gpus.problem == "" and gpus.sample()["gpu0/lost"] == 1 and gpus.sample()["gpu1/celsius"] == 61


def test_a_gpu_that_may_not_be_opened_is_left_out():
    gpus = Gpus(Nvml({}, {}, failing={("nvmlDeviceGetHandleByIndex", 0): double.NO_PERMISSION}))
    assert {gauge(name).gpu for name in gpus.sample()} == {1}


PROBLEMS = {
    "no driver": (double.DRIVER_NOT_LOADED, "NVML: Driver Not Loaded; load NVIDIA's driver: `nvidia-smi` must list"),
    "no library": (double.LIBRARY_NOT_FOUND, "NVML: NVML Shared Library Not Found; install NVIDIA's driver: libnvidia"),
    "driver changed": (double.VERSION_MISMATCH, "version mismatch.; restart the machine"),
    "no permission": (double.NO_PERMISSION, "NVML: Insufficient Permissions; `nvidia-smi` must list the GPU"),
    "lost": (double.GPU_IS_LOST, "NVML: GPU is lost; `nvidia-smi` must list the GPU"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_without_a_driver_there_is_a_problem_and_no_figure(case):
    code, words = PROBLEMS[case]
    gpus = Gpus(Nvml(failing={"nvmlInit": code}))
    assert words in gpus.problem and gpus.sample() == {} and gpus.facts() == {"gpu_problem": gpus.problem}


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Gpus().problem == "the package nvidia-ml-py is not installed: pip install nvidia-ml-py"


def test_a_module_of_that_name_that_is_another_is_a_problem_and_not_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", types.ModuleType("pynvml"))
    assert Gpus().problem.startswith("NVML: module 'pynvml' has no attribute 'nvmlInit'; ")


def test_a_machine_without_gpus_has_a_problem():
    nvml = Nvml()
    nvml.gpus = []
    assert Gpus(nvml).problem == "NVML lists no GPU; `nvidia-smi` must list the GPU"


def test_facts_are_those_of_the_machine():
    assert Gpus(Nvml({}, {})).facts() == {
        "gpus": 2, "gpu": "Tesla T4", "gpu_memory": 15_843_721_216, "gpu_compute_capability": "7.5",
        "gpu_power_limit_watts": 70.0, "nvidia_driver": "535.183.01", "cuda": "12.2",
    }


def test_gpus_that_differ_are_all_named_and_facts_that_fail_are_none():
    nvml = Nvml({"name": b"Tesla T4"}, {"name": "NVIDIA L4"}, failing={
        "nvmlDeviceGetEnforcedPowerLimit": 3, "nvmlSystemGetCudaDriverVersion_v2": double.FUNCTION_NOT_FOUND})
    facts = Gpus(nvml).facts()
    assert (facts["gpu"], facts["gpu_power_limit_watts"], facts["cuda"]) == ("Tesla T4, NVIDIA L4", None, None)


def test_a_sampler_records_the_gpu():
    samples = []
    with Sampler(samples.append, lambda: float(len(samples)), extra=Gpus(Nvml()).sample, period=0.01):
        pass
    assert samples[0]["extra"]["gpu0/celsius"] == 61


def test_the_double_is_like_the_library():
    """Its codes, constants, texts and functions are those of the real package, where that is installed."""
    real = pytest.importorskip("pynvml")
    codes = {name: value for name, value in vars(double).items() if name.isupper() and isinstance(value, int)}
    names = {"VERSION_MISMATCH": "LIB_RM_VERSION_MISMATCH"}
    assert codes == {name: getattr(real, f"NVML_ERROR_{names.get(name, name)}") for name in codes}
    assert {code: str(real.NVMLError(code)) for code in double.TEXTS} == double.TEXTS
    assert all(getattr(real, name) == getattr(Nvml, name) for name in vars(Nvml) if name.startswith("NVML_"))
    functions = {*double.SYSTEM, *(name for name in double.T4 if name.startswith("nvml")),
                 "nvmlDeviceGetClockInfo", "nvmlDeviceGetUtilizationRates"}
    newer = {"nvmlDeviceGetTemperatureV"}  # which older versions of the package do not have
    assert {name for name in functions if not hasattr(real, name)} <= newer
    thermal = real.nvmlClocksThrottleReasonSwThermalSlowdown | real.nvmlClocksThrottleReasonHwThermalSlowdown
    assert throttling(thermal)["thermal_throttling"] == 1
    assert throttling(real.nvmlClocksThrottleReasonSwPowerCap)["power_throttling"] == 1
    assert throttling(real.nvmlClocksThrottleReasonHwPowerBrakeSlowdown)["power_throttling"] == 1
    assert throttling(real.nvmlClocksThrottleReasonHwSlowdown)["hardware_slowdown"] == 1
