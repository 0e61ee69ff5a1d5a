"""A slider that answers in the browser, whatever the kernel is doing."""

from pathlib import Path

import anywidget
import traitlets

from course_utils.figures import WIDGET, as_shown

OWN = "your own"  # a model, a machine
BYTES = {1: "1 · 8 bits", 2: "2 · half", 4: "4 · float32"}


def source(*names):
    """The text of files in this folder, one after the other: in the browser a widget is one."""
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)


class Slider(anywidget.AnyWidget):
    """A slider over `values`, named by `label`, that shows a value as `text(value)`.

    `index` and `value` follow the slider; they can be set and linked.

    Raises ValueError without values, TraitError if value or index is set to another.

    >>> slider = Slider("K/V heads g", [1, 2, 4])
    >>> slider.value = 4
    >>> slider.offer([1, 2, 3, 4, 6, 12], 3)
    >>> slider.index, slider.value, slider.texts
    (2, 3, ['1', '2', '3', '4', '6', '12'])
    """

    _esm = source("control.js", "slider.js")
    _css = source("slider.css")
    label = traitlets.Unicode().tag(sync=True)
    texts = traitlets.List(traitlets.Unicode()).tag(sync=True)  # what the slider says
    index = traitlets.Int(0).tag(sync=True)
    value = traitlets.Any()
    _ipython_display_ = None  # ipywidgets 7 would show the widget without its words

    def __init__(self, label, values, text=str, **traits):
        self.values, self.text = list(values), text
        if not self.values:
            name = type(self).__name__.lower()
            raise ValueError(f"a {name} needs at least one value; values is empty")
        texts = [text(value) for value in self.values]
        super().__init__(label=label, texts=texts, value=self.values[0], **traits)

    def offer(self, values, value):
        """Replace the values and choose one of them; the browser hears of both at once."""
        values = list(values)
        index = values.index(one_of(values, value))
        with self.hold_sync():
            self.values, self.texts = values, [self.text(value) for value in values]
            self.index = index
            self.value = value  # where the index is the same as before

    def _repr_mimebundle_(self, **kwargs):
        """The widget and, for readers without one, what it offers and where it stands."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        at = self.texts[self.index]
        data["text/plain"] = f"{self.label}: {', '.join(self.texts)}. At {at}"
        return as_shown(data), metadata

    @traitlets.validate("value")
    def _known_value(self, proposal):
        return one_of(self.values, proposal.value)

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


def one_of(values, value):
    """The value. Raises TraitError if it is not among the values."""
    if value not in values:
        raise traitlets.TraitError(f"value is {value}; it must be in {values}")
    return value


def box_bundle(box, slider, page, text):
    """How a box with a slider in it shows: the box; where no widget can live, page or text.

    Returns (data, metadata). Colab loads the slider's code from where the metadata say.
    """
    view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    data = {WIDGET: view, "text/html": page, "text/plain": text}
    return as_shown(data), slider._repr_mimebundle_()[1]


def table(head, rows):
    """HTML of a table whose first column names the rows."""
    cell = 'style="text-align: left; padding: 1px 12px 1px 0; font-size: 15px; white-space: nowrap"'
    page = "".join(f'<th scope="col" {cell}>{x}</th>' for x in head)
    for name, *rest in rows:
        page += f'</tr><tr><th scope="row" {cell}>{name}</th>'
        page += "".join(f"<td {cell}>{x}</td>" for x in rest)
    return f'<table style="border-collapse: collapse; margin: 8px 0"><tr>{page}</tr></table>'


class Keys(anywidget.AnyWidget):
    """Nothing to see: JupyterLab takes no keys pressed on a list beside it (ipywidgets #3912)."""

    _esm = """export default { async render({ el }) {
        while (!el.isConnected) await new Promise(requestAnimationFrame);
        const leave = (event) => { event.target.dataset.lmSuppressShortcuts = "true"; };
        el.closest(".widget-hbox").addEventListener("focusin", leave);
    } };"""
