"""A slider over pictures that answers in the browser, whatever the kernel is doing."""

import base64
from pathlib import Path

import anywidget
import traitlets

from course_utils.figures import CSS_DPI, as_shown, png


class Flipbook(anywidget.AnyWidget):
    """A slider over `values`; `render(value)` draws each picture once, before it is shown.

    `render(value) -> Figure`, all of the same size; `label` names the slider; `alt(value) -> str`
    says what to see in a picture, if the figure has no `alt` of its own. `index` and `value`
    follow the slider; they can be set and linked.

    Raises ValueError without values or alt texts, TraitError if value or index is set to another.

    >>> from matplotlib.figure import Figure
    >>> book = Flipbook(lambda g: Figure(), "K/V heads g", [1, 2, 4], alt=lambda g: f"{g} heads")
    >>> book.value = 4
    >>> book.index, book.alts
    (2, ['1 heads', '2 heads', '4 heads'])
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    label = traitlets.Unicode().tag(sync=True)
    texts = traitlets.List(traitlets.Unicode()).tag(sync=True)  # what the slider says
    alts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    frames = traitlets.List(traitlets.Bytes()).tag(sync=True)  # PNG, twice as wide as shown
    width = traitlets.Float().tag(sync=True)  # as shown, in CSS pixels
    index = traitlets.Int(0).tag(sync=True)
    value = traitlets.Any()
    _ipython_display_ = None  # ipywidgets 7 would show the widget without its picture

    def __init__(self, render, label, values, alt=None):
        self.values = list(values)
        if not self.values:
            raise ValueError("a flipbook needs at least one value; values is empty")
        figures = [render(value) for value in self.values]
        if not alt and not all(hasattr(figure, "alt") for figure in figures):
            raise ValueError(
                "the figures have no alt text; give alt=, a function from value to words"
            )
        super().__init__(
            label=label,
            texts=[str(value) for value in self.values],
            alts=[alt(value) for value in self.values] if alt else [f.alt for f in figures],
            frames=[png(figure) for figure in figures],
            width=figures[0].get_figwidth() * CSS_DPI,
            value=self.values[0],
        )

    @traitlets.validate("value")
    def _known_value(self, proposal):
        if proposal.value not in self.values:
            raise traitlets.TraitError(f"value is {proposal.value}; it must be in {self.values}")
        return proposal.value

    @traitlets.validate("index")
    def _known_index(self, proposal):
        last = len(self.values) - 1
        if not 0 <= proposal.value <= last:
            raise traitlets.TraitError(f"index is {proposal.value}; it must be from 0 to {last}")
        return proposal.value

    @traitlets.observe("value")
    def _follow_value(self, change):
        self.index = self.values.index(change.new)

    @traitlets.observe("index")
    def _follow_index(self, change):
        self.value = self.values[change.new]

    def _repr_mimebundle_(self, **kwargs):
        """The widget, and for readers without one the picture it shows and its words."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        alt = self.alts[self.index]
        data["image/png"] = base64.b64encode(self.frames[self.index]).decode()
        data["text/plain"] = f"{self.label}: {', '.join(self.texts)}. At {self.value}: {alt}"
        return as_shown(data), metadata | {"image/png": {"width": self.width, "alt": alt}}
