"""The slider, on the kernel's side; what it shares with the flipbook is in test_pictures."""

import pytest
import traitlets

from course_utils.widgets.slider import Slider


def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


def test_it_says_its_values_in_the_words_it_is_given():
    slider = Slider("tokens", [512, 8192], text="{:,}".format)
    assert (slider.value, slider.texts) == (512, ["512", "8,192"])
    slider.offer([100_000, 131_072], 131_072)
    assert slider.texts == ["100,000", "131,072"]


@pytest.mark.parametrize(
    "n, g, index",
    [(24, 8, 5), (24, 4, 3), (32, 8, 3), (2, 1, 0), (1, 1, 0), (9, 3, 1), (15, 5, 2)],
)
def test_other_values_can_be_offered(n, g, index):
    slider = Slider("K/V heads g", divisors(32))
    slider.value = 8
    slider.offer(divisors(n), g)
    assert (slider.values, slider.value, slider.index) == (divisors(n), g, index)
    assert slider.texts == [str(d) for d in divisors(n)]
    slider.index = 0
    assert slider.value == 1


def test_an_offer_is_one_message_and_one_new_value(monkeypatch):
    slider, sent, heard = Slider("K/V heads g", divisors(32)), [], []
    slider.value = 8
    monkeypatch.setattr(slider, "send_state", lambda names: sent.append({*names}))
    slider.observe(heard.append, "value")
    slider.offer(divisors(24), 6)
    assert sent == [{"texts", "index"}]
    assert [(change.old, change.new) for change in heard] == [(8, 6)]
    slider.offer(divisors(24), 6)
    assert len(heard) == 1


def test_an_offer_without_its_value_is_an_error_and_changes_nothing():
    slider = Slider("x", [1, 2])
    with pytest.raises(traitlets.TraitError) as error:
        slider.offer([3, 4], 2)
    assert str(error.value) == "value is 2; it must be in [3, 4]"
    assert (slider.values, slider.texts, slider.value) == ([1, 2], ["1", "2"], 1)


def test_no_values_is_an_error():
    with pytest.raises(ValueError) as error:
        Slider("x", [])
    assert str(error.value) == "a slider needs at least one value; values is empty"
