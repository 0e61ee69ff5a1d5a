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
        alts, frames, width = [], [], 0
        for value in values:  # one figure at a time: each takes some megabytes
            figure = render(value)
            if not alt and not hasattr(figure, "alt"):
                raise ValueError(
                    "the figures have no alt text; give alt=, a function from value to words"
                )
            alts.append(alt(value) if alt else figure.alt)
            frames.append(png(figure))
            width = max(width, figure.get_figwidth() * CSS_DPI)
        super().__init__(label, values, alts=alts, frames=frames, width=width)

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
