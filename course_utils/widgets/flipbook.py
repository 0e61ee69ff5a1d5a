"""A slider over pictures that answers in the browser, whatever the kernel is doing."""

import base64

import traitlets

from course_utils.figures import CSS_DPI, png
from course_utils.widgets.slider import Slider


class Flipbook(Slider):
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

    alts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    frames = traitlets.List(traitlets.Bytes()).tag(sync=True)  # PNG, twice as wide as shown
    width = traitlets.Float().tag(sync=True)  # as shown, in CSS pixels

    def __init__(self, render, label, values, alt=None):
        values = list(values)
        figures = [render(value) for value in values]
        if not alt and not all(hasattr(figure, "alt") for figure in figures):
            raise ValueError(
                "the figures have no alt text; give alt=, a function from value to words"
            )
        super().__init__(
            label,
            values,
            alts=[alt(value) for value in values] if alt else [f.alt for f in figures],
            frames=[png(figure) for figure in figures],
            width=max((figure.get_figwidth() for figure in figures), default=0) * CSS_DPI,
        )

    def offer(self, values, value):
        """Refuse: other values would need other pictures."""
        raise TypeError("a flipbook keeps its values; make a new one for others")

    def _repr_mimebundle_(self, **kwargs):
        """The widget, and for readers without one the picture it shows and its words."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        alt = self.alts[self.index]
        data["image/png"] = base64.b64encode(self.frames[self.index]).decode()
        data["text/plain"] += f": {alt}"
        return data, metadata | {"image/png": {"width": self.width, "alt": alt}}
