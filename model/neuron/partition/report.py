"""Reports of a plan: as text, and as a dict for JSON."""
from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from textwrap import fill

from model.neuron.partition.plan import Plan, PlanError, Segment, Split

COMPILERS = {"tf1": "tfn.saved_model.compile of tensorflow-neuron 1.15", "tf2": "tfn.trace of tensorflow-neuron 2.x"}
WIDTH = 120


def expanded(graph_def, patterns) -> list[str]:
    """The names of the nodes that match patterns: names, or prefixes that end in `*`. Raises PlanError."""
    names = [node.name for node in graph_def.node]
    found: list[str] = []
    for pattern in patterns:
        is_prefix = pattern.endswith("*")
        matches = [name for name in names if (name.startswith(pattern[:-1]) if is_prefix else name == pattern)]
        if not matches:
            raise PlanError(f"no_fuse {pattern}: the graph has no such node; correct the name")
        found += matches
    return found


def as_dict(plan: Plan) -> dict:
    """The whole plan with its ratios, ready for JSON."""
    on_device, total = plan.convolutions
    return {
        "prediction": f"{COMPILERS[plan.route]}; the compile log is the truth",
        **asdict(plan),
        "on_neuron_ratio": plan.on_neuron_ratio,
        "ratio_without_identities": plan.ratio_without_identities,
        "operator_ratio": plan.operator_ratio,
        "convolutions_on_device": on_device,
        "convolutions": total,
    }


def text(plan: Plan) -> str:
    """The plan as text, in lines of at most 120 characters if names allow it; long lists are shortened."""
    on_device, total = plan.convolutions
    unused = f", and {len(plan.unused)} that no output needs" if plan.unused else ""
    mode = ", nodes chosen by the caller" if plan.is_manual else ""
    lines = [
        f"prediction: {COMPILERS[plan.route]}{mode}; the compile log is the truth",
        f"nodes           {len(plan.types)}{unused}",
        f"segments        {len(plan.segments)}",
        f"OnNeuronRatio   {plan.on_neuron_ratio:.3f}   of all nodes, as compilation reports it",
        f"AWS's count     {plan.ratio_without_identities:.3f}   without Identity; about 0.79 in AWS's YOLOv4 tutorial",
        f"operator ratio  {plan.operator_ratio:.3f}   without Const, Identity, NoOp and Placeholder",
        f"convolutions    {on_device} of {total} on the device",
    ]
    largest_first = sorted(plan.segments, key=lambda segment: -len(segment.nodes))
    lines += _first(10, [_segment(number, segment) for number, segment in enumerate(largest_first, 1)], "segments")
    lines += _first(3, [_split(split) for split in plan.splits], "split regions")
    if plan.on_cpu:
        lines += ["", "on the CPU:", *_on_cpu(plan)]
    return "\n".join(lines)


def _first(count, items, kind) -> list[str]:
    rest = len(items) - count
    return [*items[:count], *([f"and {rest} more {kind}"] if rest > 0 else [])]


def _listed(items, count=4) -> str:
    return ", ".join(_first(count, [str(item) for item in items], "")).rstrip()


def _segment(number, segment: Segment) -> str:
    return (f"\nsegment {number}: {len(segment.nodes)} nodes\n"
            + _indented("  in   ", _listed(segment.inputs)) + "\n" + _indented("  out  ", _listed(segment.outputs)))


def _split(split: Split) -> str:
    between = f"through {_listed(split.between)}" if split.between else "through a control edge"
    return "\n" + fill(f"split: a connected region became {len(split.sizes)} segments (of {_listed(split.sizes, 8)} "
                       f"nodes), because paths leave it and return {between}", WIDTH, subsequent_indent="  ")


def _on_cpu(plan: Plan):
    by_reason: dict = {}
    for name, cause in plan.on_cpu.items():
        by_reason.setdefault(cause.reason, []).append((name, cause.detail))
    for reason, rows in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        types = Counter(plan.types[name] for name, _ in rows)
        listed = _listed((f"{kind} {count}" for kind, count in types.most_common()), 8)
        yield _indented(f"{len(rows):5}  ", f"{reason.value}: {listed}")
        yield _indented(" " * 7, _listed(name for name, _ in rows))
        details = Counter(detail for _, detail in rows if detail).most_common()
        if details:
            yield _indented(" " * 7, f"because of {_listed((f'{detail} ({count})' for detail, count in details), 2)}")


def _indented(label, words) -> str:
    return fill(words, WIDTH, initial_indent=label, subsequent_indent=" " * len(label),
                break_long_words=False, break_on_hyphens=False)
