"""Checks environment variables that hide NeuronCores from the detector, contradict each other or are obsolete.

Sources: SDK docs, page "Neuron Runtime configuration"; aws-neuron-tensorflow, runtime/direct/env.cc and placer.cc.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from model.neuron.machine.preflight import OK, WRONG, Check

VISIBLE_CORES, NUM_CORES = "NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES"
OBSOLETE = {
    "NEURONCORE_GROUP_SIZES": "is obsolete, but tensorflow-neuron still takes a number of cores from it",
    "NEURON_INTERNAL_USE_GRPC_RUNTIME": "asks for neuron-rtd, the runtime before 2.0",
}
# Whatever these say reaches the compiler beside the flags that the project chooses and records.
COMPILER_FLAGS = ("NEURON_CC_FLAGS", "XLA_FLAGS", "TF_XLA_FLAGS")


def compiler_flags(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """(variable, why it must not be set) of those that would change what is compiled."""
    why = "would change what is compiled under the same name; the compiler's flags are chosen by --cast"
    return [(name, why) for name in COMPILER_FLAGS if environment.get(name, "").strip()]


def checks(environment: Mapping[str, str], cores: int | None, takes_lists=True) -> list[Check]:
    """A check for each wrong variable on a machine with so many cores (None or 0: unknown), or one that all are right.

    `takes_lists`: whether the runtime reads a list of cores such as 0,2, as those from 2.16.18 on do.
    """
    found = [*_visible(environment.get(VISIBLE_CORES, ""), cores), *_number(environment, cores)]
    if not takes_lists and "," in environment.get(VISIBLE_CORES, ""):
        found.append((VISIBLE_CORES, "is a list, which the runtime in tensorflow-neuron 1.15 refuses; it takes a range "
                      "such as 0-3"))
    found += [(name, why) for name, why in OBSOLETE.items() if environment.get(name)] + compiler_flags(environment)
    wrong = [Check("environment", WRONG, f"{name}={environment[name]} {why}", f"unset {name}") for name, why in found]
    return wrong or [Check("environment", OK, "no variable hides cores or contradicts another")]


def visible_cores(setting: str) -> set[int] | None:
    """The cores in a value of NEURON_RT_VISIBLE_CORES such as 0-3 or 1,3; None if it is malformed."""
    cores: set[int] = set()
    for part in setting.split(","):
        ends = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
        if not ends or int(ends[2] or ends[1]) < int(ends[1]):
            return None
        cores.update(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return cores


def as_range(setting: str) -> str:
    """A list of cores such as 0,1,2 as the range 0-2, which every runtime takes. Raises ValueError for any other."""
    cores = sorted(visible_cores(setting) or ())
    if not cores or cores != list(range(cores[0], cores[-1] + 1)):
        raise ValueError(f"{VISIBLE_CORES}={setting}: must be neighbouring cores such as 0-3 for a runtime before "
                         "2.16.18; give each process one core")
    return str(cores[0]) if len(cores) == 1 else f"{cores[0]}-{cores[-1]}"


def _visible(setting: str, cores: int | None) -> Iterator[tuple[str, str]]:
    chosen = visible_cores(setting)
    if setting and chosen is None:
        yield VISIBLE_CORES, "must be a list of cores such as 0-3 or 1,3"
    elif chosen and cores and max(chosen) >= cores:
        yield VISIBLE_CORES, f"names core {max(chosen)}, but the last core is {cores - 1}"
    elif chosen and cores and len(chosen) < cores:
        yield VISIBLE_CORES, f"hides {cores - len(chosen)} of {cores} cores"


def _number(environment: Mapping[str, str], cores: int | None) -> Iterator[tuple[str, str]]:
    setting, chosen = environment.get(NUM_CORES, "").strip(), visible_cores(environment.get(VISIBLE_CORES, ""))
    if setting and not re.fullmatch("[0-9]{1,9}", setting):
        yield NUM_CORES, "must be a number of cores"
    elif not int(setting or 0):  # unset or 0: all cores
        return
    elif chosen and int(setting) != len(chosen):
        yield NUM_CORES, f"contradicts {VISIBLE_CORES}={environment[VISIBLE_CORES]}, which takes precedence"
    elif cores and int(setting) > cores:
        yield NUM_CORES, f"asks for more than the {cores} cores of this machine"
    elif cores and not chosen and int(setting) < cores:
        yield NUM_CORES, f"hides {cores - int(setting)} of {cores} cores"
