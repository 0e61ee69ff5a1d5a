// A widget without a kernel: its state stands in the page, and what a reader moves is kept here.
// `source` is the widget's own code, the same as in a notebook.
const modules = new Map(); // a code is loaded once, however many controls have it
async function show(source, state, el) {
  const hearers = new Set();
  const model = {
    get: (name) => state[name],
    set(name, value) {
      state[name] = value;
      hearers.forEach((hear) => hear());
    },
    save_changes() {},
    on: (event, hear) => hearers.add(hear),
    off: (event, hear) => hearers.delete(hear),
  };
  if (!modules.has(source)) {
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    modules.set(source, import(address));
  }
  const widget = await modules.get(source);
  await widget.default.render({ model, el });
  return model;
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (x) => x.charCodeAt(0));
}
