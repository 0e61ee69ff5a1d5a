// Sliders and a picture that is worked out of them here; the kernel only hears of what is chosen.
// `draw(chosen, facts, width, height)` gives the picture: { height, shapes, alt, words }; where the
// page gives it no --formula-height, it has its own.
// `coupled(chosen, moved, facts)` what is chosen after a move, if other sliders move as well.
function formula({ model, el }, draw, coupled = (chosen) => chosen) {
  const names = Object.keys(model.get("controls"));
  function choose(name, value) {
    if (value === undefined || value === model.get("chosen")[name]) return;
    model.set("chosen", coupled({ ...model.get("chosen"), [name]: value }, name, model.get("facts"))); // and follow is called
    model.save_changes();
  }
  const values = (name) => model.get("controls")[name].values;
  const controls = names.map((name) => control((index) => choose(name, values(name)[index])));
  el.choose = (name, words) => choose(name, values(name).find((x) => String(x) === words)); // from an address
  const sliders = make("div", "formula-controls");
  const card = make("div", "formula-card");
  const stage = make("div", "formula-stage");
  const words = make("p", "formula-words", { ariaLive: "polite" });
  sliders.append(...controls.map((x) => x.element));
  card.append(stage, words);

  function follow() {
    const [chosen, width] = [model.get("chosen"), stage.clientWidth];
    names.forEach((name, i) => {
      const { label, values, texts } = model.get("controls")[name];
      controls[i].show(label, texts, values.indexOf(chosen[name]));
    });
    if (!width) return; // not in the page yet
    const given = getComputedStyle(stage).getPropertyValue("--formula-height");
    const picture = draw(chosen, model.get("facts"), width, Number(given) || undefined);
    stage.innerHTML =
      `<svg role="img" width="${width}" height="${picture.height}">${picture.shapes}</svg>`;
    stage.firstChild.setAttribute("aria-label", `${picture.alt} ${picture.words}`);
    if (words.textContent !== picture.words) words.textContent = picture.words; // is read out
    el.dataset.ready = "true";
  }
  model.on("change", follow);
  const resized = new ResizeObserver(follow);
  resized.observe(stage);
  el.classList.add("formula");
  el.append(sliders, card);
  return () => {
    model.off("change", follow);
    resized.disconnect();
  };
}

const number = (x, digits = 3) => x.toLocaleString("en", { maximumSignificantDigits: digits });
const log = (low, high, from, to) => (x) => // a scale: from low to high, in pixels
  from + ((to - from) * Math.log(x / low)) / Math.log(high / low);
const line = (points, look) => `<polyline fill="none" points="${points.join(" ")}" ${look}/>`;
const write = (x, y, text, look = "") => `<text x="${x}" y="${y}" ${look}>${text}</text>`;
const END = 'text-anchor="end"';
const MIDDLE = 'text-anchor="middle"';

// Log axes with their names: a grid line at the powers of ten of y (2 and 5 times them as well, if
// there is room), and the xs that are given.
function axes({ left, right, top, bottom }, x, xs, xName, y, [low, high], yName) {
  let shapes = "";
  for (let k = Math.floor(Math.log10(low)); 10 ** k <= high; k++)
    for (const value of (y(1) - y(10) > 60 ? [1, 2, 5] : [1]).map((digit) => digit * 10 ** k)) {
      if (value < low || value > high) continue;
      shapes += line([[left, y(value)], [right, y(value)]], 'stroke="#ddd"');
      shapes += write(left - 6, y(value) + 5, number(value, 1), END);
    }
  shapes += line([[left, top], [left, bottom], [right, bottom]], 'stroke="#1a1a1a"');
  for (const value of xs) shapes += write(x(value), bottom + 20, value, MIDDLE);
  shapes += write((left + right) / 2, bottom + 40, xName, MIDDLE);
  const turn = `${MIDDLE} transform="rotate(-90 14 ${(top + bottom) / 2})"`;
  return shapes + write(14, (top + bottom) / 2, yName, turn);
}
