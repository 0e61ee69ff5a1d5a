// What every control here is made of: a slider that has a name and says its values in words.
function make(tag, className, properties = {}) {
  return Object.assign(document.createElement(tag), { className, ...properties });
}

// `element` is to be shown, `show` moves it without a word; the reader's moves go to `moved`.
function control(moved) {
  const name = make("span", "slider-name");
  const slider = make("input", "slider-input", { type: "range" });
  const text = make("span", "slider-text", { ariaHidden: "true" }); // the slider says it
  const element = make("label", "slider-control");
  element.append(name, slider, text);
  slider.addEventListener("input", () => moved(slider.valueAsNumber));
  slider.addEventListener("keydown", (event) => event.stopPropagation()); // the notebook's shortcuts
  slider.dataset.lmSuppressShortcuts = "true";
  function show(label, texts, index) {
    name.textContent = label;
    slider.max = texts.length - 1; // before the value, which it would cut
    slider.value = index;
    slider.setAttribute("aria-valuetext", texts[index]);
    text.textContent = texts[index];
  }
  return { element, show };
}
