"""The sliders over a formula, on the kernel's side; tests/browser holds the picture to the same."""

import pytest
import traitlets

from course_utils import figures
from course_utils.cost import tokens_per_second
from course_utils.geometry import Geometry, model
from course_utils.widgets.formula import number
from course_utils.widgets.roof import Roof
from course_utils.widgets.step import N_WEIGHTS, Step

MACHINES = {  # GB/s, Tflop/s in float32 and half, GB
    "this machine": (17.3, 0.0812, 0.031, 16),
    "T4": (320, 8.1, 65, 16),
    "A100": (2039, 19.5, 312, 80),
    "H200": (4800, 67, 989, 141),
}
WIDGETS = pytest.mark.parametrize("widget", [Roof, Step])


def values(widget, name):
    return widget.controls[name]["values"]


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_sets_exactly_its_numbers_and_the_bytes_its_peak(name):
    bandwidth, float32, half, _ = MACHINES[name]
    roof = Roof(MACHINES, n=64)
    roof.choose(machine=name)
    for per_element, peak in [(1, half), (2, half), (4, float32)]:
        roof.choose(bytes=per_element)
        assert roof.chosen == {
            "machine": name, "bandwidth": bandwidth, "peak": peak, "bytes": per_element, "n": 64
        }  # fmt: skip


@pytest.mark.parametrize("moved, value", [("bandwidth", 10_000), ("peak", 0.05)])
def test_moving_a_number_makes_the_machine_your_own(moved, value):
    roof = Roof(MACHINES, machine="T4")
    before = roof.chosen
    roof.choose(**{moved: value})
    assert roof.chosen == before | {"machine": "your own", moved: value}
    now = roof.chosen
    roof.choose(bytes=2, n=8)  # of one's own, the peak stays
    assert roof.chosen == now | {"bytes": 2, "n": 8}


def test_it_begins_with_the_first_machine_or_as_it_is_told():
    assert Roof(MACHINES).chosen["machine"] == "this machine"
    roof = Roof(MACHINES, machine="A100", bytes=2, n=128)
    assert list(roof.chosen.values()) == ["A100", 2039, 312, 2, 128]


def test_a_step_begins_with_the_first_machine_that_holds_it():
    assert Step(MACHINES).chosen["machine"] == "A100"  # 16.1 + 34.4 GB
    small = {name: MACHINES[name] for name in ("T4", "this machine")}
    assert Step(small).chosen["machine"] == "T4"
    assert Step(MACHINES, machine="T4", b=1).chosen["b"] == 1


@pytest.mark.parametrize(
    "chosen, said",
    [  # 2 · 32 · 320 / (1000 · 4 · 8.1) = 0.63; bytes 2 · 32 · 128 · 4096 · 4 / 320e6
        ({"machine": "T4"}, "Reading takes longer at every g. From g = 32 to 1: 32 × fewer bytes, "
         "at most 32 × faster, 0.419 → 0.0131 ms."),
        ({"peak": 1.6}, "take as long at g = 3.2. From g = 32 to 1: 32 × fewer bytes, at most "
         "10 × faster, 0.419 → 0.0419 ms."),
        ({"peak": 0.05}, "Computing takes longer at every g. From g = 32 to 1: 32 × fewer bytes, "
         "at most 1 × faster, 1.34 → 1.34 ms."),
        ({"peak": 0.16}, "Computing takes longer at every g."),  # the two are equal at g = n = 32
    ],
)  # fmt: skip
def test_the_roof_says_where_the_crossing_is(chosen, said):
    roof = Roof(MACHINES, machine="T4", bytes=4)
    roof.choose(**chosen)
    assert said in roof.words()


@pytest.mark.parametrize("g", [1, 4, 32])
@pytest.mark.parametrize("b, s, per_element", [(1, 1024, 2), (32, 8192, 1), (512, 131_072, 2)])
@pytest.mark.parametrize("name", MACHINES)
def test_a_step_is_what_the_lesson_teaches(name, b, s, per_element, g):
    bandwidth, _, peak, memory = MACHINES[name]
    words = Step(MACHINES, machine=name, g=g, b=b, s=s, bytes=per_element).words()
    llama = Geometry("Llama-3 8B", 32, 32, g, 128, d_model=4096, max_context=8192)
    rate = tokens_per_second(llama, N_WEIGHTS, b, s, bandwidth, peak, per_element)
    assert f"{number(1000 * b / rate)} ms a step: {number(rate / b)} tokens a second for" in words
    assert f"of {b} users, {number(rate)} in all." in words or ("for one user." in words and b == 1)
    cache = 2 * 32 * b * g * 128 * s * per_element
    weights = per_element * 8_030_261_248
    reading = 1000 * cache / (bandwidth * 1e9)
    computing = 1000 * b * 32 * 4 * 32 * 128 * s / (peak * 1e12)
    by = "reading" if reading > computing else "computing"
    assert f"cache {number(max(reading, computing))} ms ({by})." in words
    needed = weights + cache
    if weights >= memory * 10**9:
        assert f"The weights alone do not fit: {number(weights / 1e9)} GB of {memory}." in words
    else:
        assert words.endswith(f"{number(needed / 1e9)} GB of {memory}.")
        assert ("They do not fit" in words) == (needed > memory * 10**9)


def test_the_users_who_fit_are_as_many_as_do():
    step = Step(MACHINES, machine="H200")
    for g, row in zip([32, 8, 1], step.table()[1], strict=True):
        users = int(row[-1].replace(",", ""))
        one = Geometry("", 32, 32, g, 128, d_model=4096, max_context=8192).kv_bytes(8192)
        assert users * one <= 141 * 10**9 - 2 * N_WEIGHTS < (users + 1) * one


def test_another_model_has_its_own_sizes():
    m = model("TinyStarCoderPy 164M")  # MQA: n and 1 are drawn, once each
    step = Step(MACHINES, m, 164_000_000, machine="T4", b=1, s=1024)
    assert [row[0] for row in step.table()[1]] == [f"g = {m.n_heads}", "g = 1"]
    rate = tokens_per_second(m, 164_000_000, 1, 1024, 320, 65)
    assert f"{number(rate)} tokens a second for one user" in step.words()


@pytest.mark.parametrize(
    "x, digits, said",
    [(12.34, 3, "12.3"), (0.125, 2, "0.13"), (8.95, 2, "9"), (2598, 3, "2,600"), (6.7e-5, 3, "0.000067"),
     (999.6, 3, "1,000"), (1, 3, "1"), (336_000, 3, "336,000")],
)  # fmt: skip
def test_a_number_has_so_many_digits(x, digits, said):
    assert number(x, digits) == said


@WIDGETS
def test_a_value_that_is_not_there_is_an_error_and_changes_nothing(widget):
    one = widget(MACHINES)
    before = one.chosen
    with pytest.raises(traitlets.TraitError, match="value is H100; it must be in"):
        one.choose(machine="H100")
    assert one.chosen == before


@WIDGETS
def test_sliders_run_from_small_to_large_and_have_short_names(widget):
    for name, control in widget(MACHINES).controls.items():
        assert len(control["label"]) < 20 and len(control["values"]) == len(control["texts"])
        assert name == "machine" or control["values"] == sorted(set(control["values"]))


@WIDGETS
def test_a_move_is_one_message(widget, monkeypatch):
    one, sent = widget(MACHINES), []
    monkeypatch.setattr(one, "send_state", lambda key: sent.append(key))
    one.choose(machine="H200")
    assert len(sent) == 1


@WIDGETS
def test_what_the_browser_chooses_is_not_answered(widget, monkeypatch):
    """A kernel that lags would pull the sliders back."""
    one, sent = widget(MACHINES), []
    chosen = one.chosen | {"machine": "H200", "bytes": 1}
    monkeypatch.setattr(one, "_send", lambda msg, **kwargs: sent.append(msg))
    one.set_state({"chosen": chosen})
    assert one.chosen == chosen
    assert all(msg["method"] == "echo_update" for msg in sent)


@WIDGETS
def test_stored_it_is_its_words_and_a_table(widget):
    one = widget(MACHINES, bytes=2)
    data, _ = one._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html"}
    rest = ", n · query heads: 32" if widget is Roof else ""
    assert data["text/plain"].startswith(f"machine: {one.chosen['machine']}, ")
    assert data["text/plain"].endswith(f", bytes a number: 2 · half{rest}. {one.words()}")
    assert data["text/plain"] in data["text/html"] and "<th scope" in data["text/html"]
    assert all(row[0] in data["text/html"] for row in one.table()[1])


@WIDGETS
def test_live_it_is_a_widget_with_the_words_beside_it(widget, monkeypatch):
    monkeypatch.delenv("COURSE_OUTPUTS")
    data, _ = widget(MACHINES)._repr_mimebundle_()
    assert set(data) == {figures.WIDGET, "text/html", "text/plain"}
    assert widget._ipython_display_ is None  # ipywidgets 7 would show it without its words
