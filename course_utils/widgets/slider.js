// A slider that answers here in the browser; the kernel only hears of it. Frames make it a
// flipbook: every frame is an <img>, decoded once; moving the slider shows one and hides another.
async function render({ model, el }) {
  const { element, show } = control((index) => {
    model.set("index", index); // and follow is called
    model.save_changes();
  });
  const images = (model.get("frames") ?? []).map((bytes, i) =>
    make("img", "flipbook-frame", {
      src: URL.createObjectURL(new Blob([bytes], { type: "image/png" })),
      alt: model.get("alts")[i],
      width: model.get("width"),
      draggable: false,
    }));

  let shown;
  function follow() {
    const index = model.get("index");
    show(model.get("label"), model.get("texts"), index);
    images[shown]?.classList.remove("flipbook-shown");
    images[index]?.classList.add("flipbook-shown");
    shown = index;
  }
  model.on("change", follow);
  follow();
  el.append(element);
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
