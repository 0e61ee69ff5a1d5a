"""What the tests of figures share: what a figure says, is given and shows, and that it keeps still."""

import itertools

import pandas as pd
import torch
from matplotlib.text import Text

from course_utils import figures


def plain(given):
    """What a figure is given as lists, dicts and numbers, which `==` compares."""
    if isinstance(given, pd.DataFrame):
        return given.to_json()
    if isinstance(given, dict):
        return {key: plain(x) for key, x in given.items()}
    if isinstance(given, list | tuple):
        return [plain(x) for x in given]
    return given.tolist() if isinstance(given, torch.Tensor) else given


def words(labels):
    return [label.get_text() for label in labels]


def assert_nothing_is_cut_off(figure):
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 > -0.03 and drawn.y0 > -0.03
    assert drawn.x1 < width + 0.03 and drawn.y1 < height + 0.03


def assert_legible_inside_and_apart(figure):
    """Text of 11 points or more, none cut off or over another, as wide as a lesson at most."""
    figure.draw_without_rendering()
    outside = [
        label
        for axes in figure.axes
        for label in axes.get_yticklabels()
        if not axes.get_ylim()[0] <= label.get_position()[1] <= axes.get_ylim()[1]
    ]  # matplotlib draws none of these
    texts = [x for x in figure.findobj(Text) if x.get_visible() and x not in outside]
    assert min(x.get_fontsize() for x in texts) >= 11
    assert_nothing_is_cut_off(figure)
    assert figure.get_figwidth() <= 11
    boxes = [
        Text.get_window_extent(x) for x in texts if x.get_text().strip()
    ]  # of an annotation without its line
    assert not [1 for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]


def assert_only_what_changes_moves(frames):
    """Of a flipbook's figures, all axes are in the same place and have the same scales."""
    (first, scales), *others = map(places, frames)
    for other, same in others:
        torch.testing.assert_close(other, first, rtol=0, atol=0.5)  # half a pixel
        assert same == scales


def places(figure):
    figure.set_dpi(2 * figures.CSS_DPI)  # as `png` draws it
    figure.draw_without_rendering()
    return [x.bbox.bounds for x in figure.axes], [x.axis() for x in figure.axes]
