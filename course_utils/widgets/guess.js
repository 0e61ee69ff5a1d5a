// A question with a slider or with options; the kernel hears of a guess once it is made.
function render({ model, el }) {
  const texts = model.get("texts"); // the first: no guess yet
  function say(index) {
    model.set("index", index); // and follow is called
    model.save_changes();
  }
  const { element, show } = model.get("options") ? options(texts, say) : places(texts, say);
  const follow = () => show(model.get("label"), model.get("index"));
  model.on("change", follow);
  follow();
  el.classList.add("guess");
  el.append(element);
  sayWhatWaits(el);
  el.dataset.ready = "true";
  return () => model.off("change", follow);
}

// While it is dragged, a slider says what it would be; the guess is where it is let go. Once moved,
// it does not go back to the first place.
function places(texts, say) {
  let label;
  const { element, show } = control((index) => show(label, texts, Math.max(1, index)));
  element.addEventListener("change", (event) => say(Math.max(1, event.target.valueAsNumber)));
  return { element, show: (name, index) => show((label = name), texts, index) };
}

function options(texts, say) {
  const element = make("fieldset", "guess-options");
  const legend = make("legend", "slider-name");
  const group = `guess-${Math.random()}`; // of this view alone
  const inputs = texts.slice(1).map((text, i) => {
    const input = make("input", "guess-input", { type: "radio", name: group });
    const option = make("label", "guess-option");
    input.addEventListener("change", () => say(i + 1));
    input.addEventListener("keydown", (event) => event.stopPropagation());
    input.dataset.lmSuppressShortcuts = "true";
    option.append(input, text);
    return [input, option];
  });
  element.append(legend, ...inputs.map(([, option]) => option));
  function show(label, index) {
    legend.textContent = label;
    inputs.forEach(([input], i) => { input.checked = i + 1 === index; });
  }
  return { element, show };
}

export default { render };
