// A slider that answers here in the browser; the kernel only hears of it. Frames make it a
// flipbook: every frame is an <img>, decoded once; moving the slider shows one and hides another.
function make(tag, className, properties = {}) {
  return Object.assign(document.createElement(tag), { className, ...properties });
}

async function render({ model, el }) {
  const name = make("span", "slider-name");
  const slider = make("input", "slider-input", { type: "range" });
  const text = make("span", "slider-text", { ariaHidden: "true" }); // the slider says it
  const control = make("label", "slider-control");
  control.append(name, slider, text);
  const images = (model.get("frames") ?? []).map((bytes, i) =>
    make("img", "flipbook-frame", {
      src: URL.createObjectURL(new Blob([bytes], { type: "image/png" })),
      alt: model.get("alts")[i],
      width: model.get("width"),
      draggable: false,
    }));

  let shown;
  function follow() {
    const [texts, index] = [model.get("texts"), model.get("index")];
    name.textContent = model.get("label");
    slider.max = texts.length - 1; // before the value, which it would cut
    slider.value = index;
    slider.setAttribute("aria-valuetext", texts[index]);
    text.textContent = texts[index];
    images[shown]?.classList.remove("flipbook-shown");
    images[index]?.classList.add("flipbook-shown");
    shown = index;
  }
  slider.addEventListener("input", () => {
    model.set("index", slider.valueAsNumber); // and follow is called
    model.save_changes();
  });
  slider.addEventListener("keydown", (event) => event.stopPropagation()); // the notebook's shortcuts
  slider.dataset.lmSuppressShortcuts = "true";
  model.on("change", follow);
  follow();
  el.append(control);
  if (images.length) {
    const stage = make("div", "flipbook-stage");
    stage.append(...images);
    el.append(stage);
    el.classList.add("flipbook");
    await Promise.all(images.map((image) => image.decode()));
  }
  el.dataset.ready = "true";
  return () => {
    model.off("change", follow);
    images.forEach((image) => URL.revokeObjectURL(image.src));
  };
}

export default { render };
