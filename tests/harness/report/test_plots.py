"""Each plot shows what was stored: the numbers are where the axis says, and its sentence says the same."""
from __future__ import annotations

import re
from dataclasses import replace

import pytest

from harness.load.sweep import Sweep
from harness.report import plots
from harness.report.svg import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Axis, Plot, axis
from harness.soak.run import summarise
from tests.harness.report.folders import POINTS
from tests.harness.soaks import finished, journal, soak_of, started, window

# Three builds: one of a single load, one that is dynamic, and one that could not be opened.
BUILDS = (
    replace(POINTS[0], compiled_batch=1), replace(POINTS[0], compiled_batch=4, dynamic_batch=True),
    replace(POINTS[1], compiled_batch=4, dynamic_batch=True),
    replace(POINTS[1], compiled_batch=4, dynamic_batch=True, callers=1, batch_size=2, images_per_second=99.0),
    replace(POINTS[2], compiled_batch=8, invalid="the detector could not be opened: ValueError: no room"),
)
GPU = {"gpu0/celsius": 60.0, "gpu0/mhz": 1500.0, "gpu0/watts": 65.0, "gpu0/thermal_throttling": 0.0, "gpu0/lost": 0.0}


def numbers(path: str) -> list[tuple[float, float]]:
    """The points of a path's d."""
    return [tuple(map(float, pair)) for pair in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def paths(svg: str, style: str) -> list[str]:
    return re.findall(rf'<path class="line {style}" d="([^"]*)"', svg)


def test_a_line_runs_from_corner_to_corner():
    plot = Plot("x", Axis("x", 0, 10), Axis("y", 0, 100), 240)
    plot.line([0, 10], [0, 100], "s1")
    assert numbers(paths(plot.svg(), "s1")[0]) == [(LEFT, 240 - BOTTOM), (WIDTH - RIGHT, TOP)]


def test_a_gap_interrupts_a_line():
    plot = Plot("x", Axis("x", 0, 10), Axis("y", 0, 100))
    plot.line([0, 1, 2, 3, 4], [1, 2, None, float("nan"), 3], "s1")
    assert paths(plot.svg(), "s1")[0].count("M") == 2


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 90, [0, 20, 40, 60, 80]), (48.2, 51.9, [49, 50, 51]),
    (0, 0.0007, [0, 0.0002, 0.0004, 0.0006]),
])
def test_axes_have_round_numbers(low, high, expected):
    assert Axis("x", low, high).ticks() == pytest.approx(expected)


def test_an_axis_in_factors_has_powers():
    assert Axis("x", 1, 64, log=2).ticks() == [1, 2, 4, 8, 16, 32, 64]


@pytest.mark.parametrize("values", [[], [None], [0.0], [5.0, 5.0], [float("nan")], [-1e21, 1e21], [float("inf"), 1.0]])
def test_an_axis_has_room_for_whatever_was_measured(values):
    found = axis("x", values)
    assert found.low < found.high and found.ticks() and 0 <= found.share(0.0) <= 1


def test_text_is_escaped():
    plot = Plot('"><script>', axis("<b>", [1]), axis("&", [1]), words="'><i>")
    plot.dot(0, 0, "s1", "</title><img>")
    svg = plot.svg({0.5: "<u>"})
    assert not re.search("<(script|b|i|img|u)>", svg) and "&lt;/title&gt;&lt;img&gt;" in svg


def test_a_long_soak_is_drawn_as_groups_with_their_range():
    plot = Plot("x", Axis("x", 0, 90_000), Axis("y", 0, 2))
    plot.steps(list(range(90_001)), [1.0, 0.5] * 45_000, "s1")
    svg = plot.svg()
    assert len(svg) < 60_000 and svg.count("<rect") == 400


@pytest.fixture
def gpu_soak(tmp_path):
    """A soak with two GPUs: the first is throttled from window 21 to 25 and lost from window 36 on."""
    def differing(number):
        if number > 35:
            return {"extra": {"gpu0/lost": 1.0, "gpu1/celsius": 50.0}}
        hot = {"gpu0/celsius": 88.0, "gpu0/mhz": 900.0, "gpu0/thermal_throttling": 1.0} if 20 < number < 26 else {}
        return {"extra": {**GPU, **hot, "gpu1/celsius": 50.0}}

    return soak_of(tmp_path / "soak.journal", differing)


def test_what_gpus_reported_is_a_curve_with_the_throttled_windows_shaded(gpu_soak):
    found = {one.name: one for one in plots.heat(gpu_soak)}
    assert list(found) == ["Processor temperature", "Processor clock", "GPU temperature", "GPU clock", "GPU power"]
    temperature = found["GPU temperature"]
    assert temperature.words == "From 50 to 88 °C. Thermal throttling in 5 of 40 windows (shaded)."
    assert temperature.svg.count('class="hot"') == 5
    assert [words for _, words in temperature.legend] == ["GPU 0", "GPU 1"]
    own, other = paths(temperature.svg, "s1")[0], paths(temperature.svg, "s2")[0]
    assert len(numbers(own)) == 2 * 35 and len(numbers(other)) == 2 * 40


def test_without_gpus_the_processor_is_shown(tmp_path):
    assert [one.name for one in plots.heat(soak_of(tmp_path / "x"))] == ["Processor temperature", "Processor clock"]


def test_the_plot_of_throughput_says_what_it_shows(tmp_path):
    soak = soak_of(tmp_path / "x", lambda number: {"latency": 0.02 if number > 20 else 0.01})
    drawing = plots.throughput(soak)
    assert drawing.words.startswith("40 of 40 windows, from 100 to 200 images/s")
    assert "slower at the end" in drawing.words
    first, *_, last = numbers(paths(drawing.svg, "s1")[0])
    assert last[1] > first[1] + 50  # down is further on


def test_where_a_new_process_continued_is_marked(tmp_path):
    records = [started(windows=2), *window(1), started(2, windows=2), *window(2, session=2, at=0.05), finished()]
    drawing = plots.throughput(summarise(journal(tmp_path / "x", records)))
    assert len(paths(drawing.svg, "cut")) == 1 and drawing.legend[-1] == ("cut", "a new process continued")


def test_of_several_builds_each_is_a_line_of_its_fastest_loads():
    rates, _ = plots.sweep(Sweep(BUILDS, 0.01, 1.0))
    assert [words for _, words in rates.legend][:2] == ["compiled batch 1, static", "compiled batch 4, dynamic"]
    assert [row[1] for row in rates.rows] == ["100.0", "100.0", "180.0"]
    assert rates.words.startswith("Knee: 2 callers × batch 1, compiled batch 4, dynamic, 180 images/s")


def test_a_sweep_without_a_valid_point_says_why():
    with pytest.raises(ValueError, match="no room"):
        plots.sweep(Sweep(POINTS[2:], None, 1.0))


def test_the_curves_can_be_told_apart_by_their_list():
    classes = {f"class {k}": [1 - k / 100] * 101 for k in range(14)}
    found = plots.precision_recall({"iou": 0.5, "classes": classes})
    assert found.classes[0] == (0, "class 13", "0.870") and len(found.classes) == 12
    assert set(re.findall(r'data-k="(\d+)"', found.drawing.svg)) == set(map(str, range(14)))
    assert "AP50 is 0.935" in found.drawing.words
