// Brings the controls of a page to life, one after the other. The address says where the control
// that was moved last stands, as in #g=8. Such an address moves it there; what it does not say of a
// control that it names is as on a fresh page.
const names = new Set(); // of all controls of this page, each once: g, g-2, model, …
const begun = []; // the controls that are alive: { el, model, places, start, fresh }

function unique(name) {
  let [own, i] = [name, 2];
  while (names.has(own)) own = `${name}-${i++}`;
  names.add(own);
  return own;
}

// "K/V heads g" → g; "question row" → question-row
const short = (label) => label.match(/\b[a-z]$/)?.[0]
  ?? (label.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["control"]).join("-");

// What a control can be asked and told by name: { name: [() => its words, (words) => move it there] }.
function placesOf(model, el) {
  const chosen = model.get("chosen");
  if (!chosen) {
    const texts = model.get("texts");
    const go = (words) => texts.includes(words) && model.set("index", texts.indexOf(words));
    return { [unique(short(model.get("label")))]: [() => texts[model.get("index")], go] };
  }
  return Object.fromEntries(Object.keys(chosen).map((name) => [unique(name), [
    () => String(model.get("chosen")[name] ?? ""),
    (words) => el.choose(name, words),
  ]]));
}

function revive(el) {
  const { code, ...state } = JSON.parse(el.nextElementSibling.textContent, (key, value) =>
    value?.base64 === undefined ? value : bytes(value.base64));
  const picture = el.querySelector("img"); // what was there before the script, the state has not
  const missing = state.frames?.indexOf(null) ?? -1;
  if (missing >= 0) state.frames[missing] = bytes(picture.src.split(",")[1]);
  const fresh = document.createElement("div");
  fresh.className = "control";
  return show(CODES[code], state, fresh).then((model) => {
    for (const image of fresh.querySelectorAll("img")) image.style.cssText = picture.style.cssText;
    el.replaceWith(fresh);
    return { el: fresh, model };
  });
}

async function begin() {
  for (const before of [...document.querySelectorAll(".control")]) {
    try {
      const { el, model } = await revive(before);
      if (model.get("options") !== undefined) tell(model); // a guess is nobody else's
      else {
        const kept = model.get("chosen") ? "chosen" : "index";
        const [places, value] = [placesOf(model, el), model.get(kept)];
        const one = { el, places, fresh: () => model.set(kept, value) };
        one.start = said(one);
        begun.push(one);
        model.on("change", () => write(one));
      }
    } catch (error) {
      console.error(error); // its picture and its words are there
    }
  }
  follow();
}

const said = ({ places }) => Object.fromEntries(Object.entries(places).map(([name, [ask]]) => [name, ask()]));

// When a slider rests, as browsers refuse many addresses a second; all that it goes with, in order.
let late, following;
function write(one) {
  if (following) return;
  clearTimeout(late);
  late = setTimeout(() => {
    const now = Object.entries(said(one));
    const moved = now.some(([name, words]) => words !== one.start[name]);
    const bare = location.pathname + location.search;
    history.replaceState(null, "", moved ? `#${new URLSearchParams(now)}` : bare);
  }, 300);
}

function follow() {
  if (!location.hash.includes("=")) return;
  const asked = new URLSearchParams(location.hash.slice(1));
  following = true;
  for (const { el, places, fresh } of begun) {
    const here = [...asked].filter(([name]) => name in places);
    if (!here.length) continue;
    fresh();
    for (const [name, words] of here) places[name][1](words);
    el.scrollIntoView({ block: el.offsetHeight < innerHeight ? "center" : "start" });
  }
  following = false;
}
addEventListener("hashchange", follow);

// The answer to a question unfolds when a guess rests, as keys go through other places; it says both.
function tell(model) {
  const answer = [...document.querySelectorAll(".truth")].find((x) => x.dataset.ask === model.get("label"));
  let rest;
  model.on("change", () => {
    if (!answer || !model.get("index")) return;
    answer.querySelector(".said").textContent = `you said ${model.get("texts")[model.get("index")]}; the answer is `;
    clearTimeout(rest);
    rest = setTimeout(() => { answer.open = true; }, 1200);
  });
}

// What is too wide is scrolled, by keyboard too.
function reachable() {
  for (const box of document.querySelectorAll("pre, article p, .output, .table-wrapper, .flipbook-stage"))
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
}

begin().finally(() => {
  reachable();
  document.documentElement.dataset.alive = begun.length;
});
addEventListener("resize", reachable);
document.addEventListener("toggle", reachable, true); // what is unfolded
