// Every frame is an <img>, decoded once; moving the slider shows one and hides another, here in
// the browser. The kernel only hears of it.
function make(tag, className, properties = {}) {
  return Object.assign(document.createElement(tag), { className, ...properties });
}

async function render({ model, el }) {
  const [texts, alts] = [model.get("texts"), model.get("alts")];
  const images = model.get("frames").map((bytes, i) =>
    make("img", "flipbook-frame", {
      src: URL.createObjectURL(new Blob([bytes], { type: "image/png" })),
      alt: alts[i],
      width: model.get("width"),
      draggable: false,
    }));
  const slider = make("input", "flipbook-slider", { type: "range", min: 0, max: images.length - 1 });
  const text = make("span", "flipbook-text", { ariaHidden: "true" }); // the slider says it
  const control = make("label", "flipbook-control");
  control.append(make("span", "", { textContent: model.get("label") }), slider, text);
  const stage = make("div", "flipbook-stage");
  stage.append(...images);

  let shown;
  function show(i) {
    if (shown !== undefined) images[shown].classList.remove("flipbook-shown");
    images[i].classList.add("flipbook-shown");
    slider.value = i;
    slider.setAttribute("aria-valuetext", texts[i]);
    text.textContent = texts[i];
    shown = i;
  }
  const follow = () => show(model.get("index"));
  slider.addEventListener("input", () => {
    show(slider.valueAsNumber);
    model.set("index", shown);
    model.save_changes();
  });
  slider.addEventListener("keydown", (event) => event.stopPropagation()); // the notebook's shortcuts
  slider.dataset.lmSuppressShortcuts = "true";
  model.on("change:index", follow);
  follow();
  el.classList.add("flipbook");
  el.append(control, stage);
  await Promise.all(images.map((image) => image.decode()));
  el.dataset.ready = "true";
  return () => {
    model.off("change:index", follow);
    images.forEach((image) => URL.revokeObjectURL(image.src));
  };
}

export default { render };
