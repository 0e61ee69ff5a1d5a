// The bill of a KV cache, worked out here: calculator.py has the same formula and the same words.
// The kernel only hears of what is chosen, and is asked for a model that is not in the table.
const entry = ([l, g, k, v, latent, index, window, every, cross, state]) =>
  ({ l, g, k, v, latent, index, window, every, cross, state });

function kept({ window, every, cross }, c) { // tokens, in whole blocks
  const all = cross ? c.source : c.s;
  const inside = Math.floor(Math.min(all, window ?? all) / every);
  return Math.ceil(inside / c.block) * c.block;
}

// Bytes of layers, on each GPU; all factors are whole or parts of 32, so nothing is rounded before.
function kvBytes(layers, c, b = c.b) {
  return Math.ceil(layers.reduce((sum, x) => {
    const token = Math.ceil(x.g / c.gpus) * (x.k + x.v) + x.latent + x.index;
    const once = Math.ceil(x.state / c.gpus) * Math.max(2, c.bytes);
    return sum + x.l * b * (kept(x, c) * token * c.bytes + once);
  }, 0));
}

function tokenBytes(layers, s, bytes) { // of the next one after s, on one GPU
  return Math.ceil(layers.reduce((sum, x) => {
    const takes = !x.cross && (x.window === null || s < x.window);
    return sum + (takes ? (x.l * (x.g * (x.k + x.v) + x.latent + x.index) * bytes) / x.every : 0);
  }, 0));
}

// Without windows, where pages are for all tokens.
const paged = (layers, c) => c.pages === "all" ? layers.map((x) => ({ ...x, window: null })) : layers;

// The same layers with g K/V heads, in place of a latent too.
const heads = (m, g) => m.layers.map((x) => {
  if (x.latent) return { ...x, g, k: x.k || m.h, v: x.v || m.h, latent: 0 };
  return x.g ? { ...x, g } : x;
});

const formats = {};
function written(x, digits, options) {
  const key = `${Object.keys(options)} ${digits}`;
  return (formats[key] ??= new Intl.NumberFormat("en", options)).format(x);
}
const number = (x, digits = 3) => written(x, digits, { maximumSignificantDigits: digits });
const whole = (x) => written(x, 0, { maximumFractionDigits: 0 });
function shown(x) { // two decimals, or three digits if it is small
  const digits = x ? Math.max(2, 2 - Number(x.toExponential().split("e")[1])) : 0;
  return written(x, digits, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
const gb = (bytes) => `${shown(bytes / 1e9)} GB`;
const some = (n, word) => `${whole(n)} ${word}${n === 1 ? "" : "s"}`;
const escape = (text) => text.replace(/[&<>"']/g, (x) =>
  ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;" })[x]);

function kindWords({ l, g, k, v, latent, index, window, every, cross, state }) {
  const parts = [some(l, "layer")];
  if (g) parts.push(`${some(g, "head")} of ${v && v !== k ? `K ${k} and V ${v}` : k}${v ? "" : ", K and V in one"}`);
  if (latent) parts.push(`a latent and RoPE key of ${latent}`);
  if (index) parts.push(`an index key of ${index}`);
  if (parts.length > 1) {
    const last = window === null ? "" : `the last ${whole(window)} tokens`;
    const one = every > 1 ? `one entry for ${every} tokens` : "";
    parts.push([last, one].filter(Boolean).join(", ") || (cross ? "what an encoder read" : "all tokens"));
  }
  if (state) parts.push(`a state of ${whole(state)} numbers`);
  return parts.join(" · ");
}

function numbers(x, c) {
  const [g, pair, products] = [Math.ceil(x.g / c.gpus), x.k === x.v, []];
  const one = pair || !x.v ? `${g} · ${x.k}` : `${g} · (${x.k} + ${x.v})`;
  if (g && pair && !x.latent && !x.index)
    products.push(`2 · ${x.l} · ${c.b} · ${one} · ${kept(x, c)} · ${c.bytes}`);
  else if (x.g || x.latent || x.index) {
    const terms = [...(g ? [pair ? `2 · ${one}` : one] : []), ...[x.latent, x.index].filter(Boolean)];
    const token = terms.length === 1 ? terms[0] : `(${terms.join(" + ")})`;
    products.push(`${x.l} · ${c.b} · ${token} · ${kept(x, c)} · ${c.bytes}`);
  }
  if (x.state)
    products.push(`${x.l} · ${c.b} · ${Math.ceil(x.state / c.gpus)} · ${Math.max(2, c.bytes)}`);
  return products.join(" + ");
}

function letters(x, c) {
  if (x.index || x.state || x.cross || x.every > 1 || (x.latent && x.g)) return "";
  let tokens = x.window === null ? "s" : "min(s, window)";
  if (c.block > 1) tokens = `⌈${tokens} / block⌉ · block`;
  if (x.latent) return `l · b · (latent + RoPE key) · ${tokens} · bytes`;
  return x.k === x.v ? `2 · l · b · ${c.gpus === 1 ? "g" : "⌈g / GPUs⌉"} · h · ${tokens} · bytes` : "";
}

function said(total, c) {
  const where = c.gpus > 1 ? ` on each of ${c.gpus} GPUs` : "";
  return `<b>${gb(total)} = ${shown(total / 2 ** 30)} GiB</b>${where} for ${some(c.b, "sequence")} of ${some(c.s, "token")}`;
}

function tokenWords(layers, c) {
  const [first, following] = [0, c.s].map((s) => tokenBytes(layers, s, c.bytes));
  const alone = c.gpus > 1 ? ", before they are shared out" : "";
  const mean = layers.some((x) => x.every > 1) ? " on average" : "";
  if (first === following) return `${whole(first)} bytes${mean} for each token of a sequence${alone}`;
  return `Each token adds ${whole(first)} bytes${mean}, once windows are full ${whole(following)}${alone}.`;
}

function notes(m, c, user, { own, scaled }) {
  const { gpus, bytes } = c;
  const latent = m.layers.some((x) => x.latent);
  const few = [...new Set(m.layers.map((x) => x.g).filter((g) => 0 < g && g < gpus))].sort((a, b) => a - b);
  const all = [
    [m.name === own, "Your own: all layers alike, all tokens kept, no window, no latent, no state."],
    [user && c.weights, `A user is one sequence: ${gb(user)}. Not exact: most cards report some `
      + "6\u00a0%\u00a0more, and a program needs memory for itself."],
    [m.name === own && c.weights, "The weights do not change with g here; k_proj and v_proj would."],
    [latent, "A latent, and one RoPE key, stand for K and V of all heads (lesson 10). MHA and MQA are "
      + `drawn with K and V ${m.h} wide, as V is; keys with their RoPE part are wider, and would take more.`],
    [few.length, `With ${gpus} GPUs and g = ${few.join(" or ")}, heads are copied: a GPU keeps at least one.`],
    [m.layers.some((x) => x.g > gpus && x.g % gpus), `Heads do not divide evenly among ${gpus} GPUs; counted is one with the most.`],
    [latent && gpus > 1, `A latent is not shared out: each of the ${gpus} GPUs keeps all of it.`],
    [scaled.includes(bytes), `32 numbers share a scale of 2 bytes: ${32 * bytes} bytes for 32 numbers.`],
    [bytes < 4 && m.layers.some((x) => x.state), "A state is counted with 2 bytes a number; some engines keep most of it in float32, twice as much."],
    [m.upper_bound, `An upper bound: ${m.upper_bound}.`],
    [m.max_context && c.s > m.max_context, `It was made for up to ${whole(m.max_context ?? 0)} tokens.`],
  ];
  return all.filter(([holds]) => holds).map(([, text]) => escape(text));
}

const bar = (share, look) => `<div class="bill-bar ${look}" style="width: ${100 * share}%"></div>`;
const row = (cells, tag = "td") => `<tr><th scope="${tag === "th" ? "col" : "row"}">${cells[0]}</th>`
  + `${cells.slice(1).map((x) => `<${tag}${tag === "th" ? ' scope="col"' : ""}>${x}</${tag}>`).join("")}</tr>`;
const table = (name, head, rows) => `<table class="${name}"><thead>${row(head, "th")}</thead>`
  + `<tbody>${rows.map((cells) => row(cells)).join("")}</tbody></table>`;
function looks({ g, latent, index, window, every }) {
  if (window !== null) return "bill-window";
  if (every > 1) return "bill-every";
  if (latent) return "bill-latent";
  return g || index ? "bill-all" : "bill-state";
}

const UNWEIGHED = "How many users fit? Type the weights in GB: parameters · bytes (8 billion · 2 = 16).";

// The bytes of a model's cache, and of those of the same sizes at both ends: [its own, MHA, MQA].
const sizes = (m, c) => [m.layers, heads(m, m.n), heads(m, 1)].map((layers) => kvBytes(paged(layers, c), c));

// How much more the one of two keeps, x and y bytes.
function versus([m, other], [[x], [y]]) {
  if (x === y) return `${m.name} keeps as much as ${other.name}.`;
  const [more, less] = x > y ? [m, other] : [other, m];
  const [most, least] = [Math.max(x, y), Math.min(x, y)];
  return least ? `${more.name} keeps ${number(most / least)} × what ${less.name} does.` : `${less.name} keeps nothing.`;
}

// What stands on a card: [what comes before the words, the words, what follows], as HTML. Bars are
// to the scale of the sizes of all models that stand beside each other, so that they can be compared.
function bill(m, c, facts, [total, mha, mqa], all) {
  const layers = paged(m.layers, c);
  const user = kvBytes(layers, c, 1);
  const [largest, longest] = [Math.max(...all.map(([own]) => own)), Math.max(...all.flat())];
  let above = `<b>${escape(m.name)}</b> · ${m.kind === "none" ? "no K/V heads" : m.kind}`;
  if (!layers.length) above += "<div>nothing is kept of a token</div>";
  if (layers.length === 1) {
    above += [kindWords(layers[0]), letters(layers[0], c), `${numbers(layers[0], c)} = ${whole(total)} bytes`]
      .filter(Boolean).map((text) => `<div>${text}</div>`).join("");
  }
  let below = `<div class="bill-token">${tokenWords(layers, c)}</div>`;
  if (layers.length > 1) for (const x of layers) {
    const part = kvBytes([x], c);
    const share = total ? part / total : 0;
    below += `<div class="bill-kind">${kindWords(x)} <b>${gb(part)}</b> ·\u00a0<span>${Math.round(100 * share)}\u00a0%</span>`
      + `${bar(part / (largest || 1), looks(x))}<span>${numbers(x, c)} = ${whole(part)} bytes</span></div>`;
  }
  if (m.layers.some((x) => x.g || x.latent)) {
    const gs = new Set(m.layers.map((x) => x.g).filter(Boolean));
    let self = gs.size === 1 ? `this, g = ${[...gs][0]}` : "this";
    if (m.layers.some((x) => x.latent)) self = "this, a latent";
    const rows = [[`MHA, g = ${m.n}`, mha], [self, total], ["MQA, g = 1", mqa]];
    const times = (x) => x < total ? `÷ ${number(total / x)}` : `× ${number(x / total)}`;
    below += table("bill-compared", ["same sizes", "to scale", "cache", "this cache"], rows.map(([name, x]) =>
      [name, bar(x ? x / longest : 0, name === self ? "bill-this" : "bill-other"), gb(x), x && total ? times(x) : ""]));
  }
  if (user && c.weights === 0) below += `<div>${UNWEIGHED}</div>`;
  if (user && c.weights) {
    const weights = c.weights / c.gpus;
    below += table("bill-users", [
      c.gpus > 1 ? `each of ${c.gpus} GPUs` : "GPU",
      `less ${number(weights, 4)} GB of weights`,
      "users who fit",
    ], facts.memories.map((memory) => {
      const left = Math.max(memory - weights, 0);
      return [`${memory} GB`, `${number(left, 4)} GB`, whole(Math.floor((left * 1e9) / user))];
    }));
  }
  below += `<div class="bill-notes">${notes(m, c, user, facts).map((text) => `<div>${text}</div>`).join("")}</div>`;
  return [above, said(total, c), below];
}

const gcd = (a, b) => (b ? gcd(b, a % b) : a);
function divisors(n) { // in pairs: i and n / i
  const all = [];
  for (let i = 1; i * i <= n; i++) if (n % i === 0) all.push(i, n / i);
  return all;
}
const NOTHING = "nothing";
const NO_KERNEL = "That needs Python: open this lesson in Jupyter.";
const NO_ANSWER = "No answer yet: a kernel must be running, and free.";

function render({ model, el }) {
  const { own, pages } = model.get("facts");
  const state = () => ({ c: model.get("chosen"), facts: model.get("facts"), sliders: model.get("controls") });
  const every = () => [...model.get("added"), ...model.get("facts").models];
  function found(c) {
    const m = c.model !== own && every().find((x) => x.name === c.model);
    if (m) return { ...m, layers: m.layers.map(entry) };
    const { l, n, g, h } = c;
    const kind = g === n ? "MHA" : g === 1 ? "MQA" : "GQA";
    const layers = [entry([l, g, h, h, 0, 0, null, 1, false, 0])];
    return { name: own, kind, n, h, max_context: null, upper_bound: "", layers };
  }
  function choose(moved, value) { // and what moves with it
    let c = { ...model.get("chosen"), [moved]: value };
    if (moved === "model" && value !== own) {
      const { l, n, g, h } = every().find((x) => x.name === value);
      c = { ...c, l, n, g, h, weights: model.get("facts").weights[value] ?? 0 };
    } else if (["model", "l", "n", "g", "h"].includes(moved)) {
      const [n, h] = [c.n || 1, c.h || 128]; // a model without attention has none
      c = { ...c, model: own, n, h, g: gcd(n, c.g), weights: moved === "g" ? c.weights : 0 }; // of one's own not known
    }
    model.set("chosen", c); // and follow is called
    model.save_changes();
  }

  const nothing = "no name has this; a config.json can be pasted below";
  const models = combobox("model", nothing, (name) => choose("model", name));
  const others = combobox("beside it", nothing, (name) => choose("beside", name === NOTHING ? "" : name));
  others.element.classList.add("calculator-beside");
  const offered = (name, { c, sliders }) => {
    const { label, values, texts } = sliders[name];
    if (name !== "g") return { label, values, texts };
    const some = [...new Set([...divisors(c.n), c.g])].sort((x, y) => x - y); // a model may have another g
    return { label, values: some, texts: some.map(String) };
  };
  const sliders = Object.fromEntries(Object.keys(model.get("controls")).map((name) =>
    [name, control((index) => choose(name, offered(name, state()).values[index]))]));
  const labelled = (text, field, className = "slider-control") => {
    const label = make("label", className);
    label.append(make("span", "slider-name", { textContent: text }), field);
    return label;
  };
  const weights = make("input", "calculator-field", { type: "number", min: 0, max: 10000, step: "any" });
  weights.addEventListener("input", () =>
    weights.validity.valid && choose("weights", weights.valueAsNumber || 0));
  const radios = Object.entries(pages).map(([value, text]) => {
    const radio = make("input", "guess-input", { type: "radio", value });
    radio.addEventListener("input", () => choose("pages", value));
    const label = make("label", "calculator-radio");
    label.append(radio, text);
    return { radio, label };
  });
  const group = `pages-${Math.random()}`;
  for (const { radio } of radios) radio.name = group;
  const fieldset = make("fieldset", "calculator-pages");
  fieldset.append(make("legend", "", { textContent: "layers with a window keep" }), ...radios.map((x) => x.label));

  const engines = make("details", "calculator-more");
  const enginesName = make("summary", "");
  engines.append(enginesName, sliders.gpus.element, sliders.block.element, fieldset,
    make("p", "", { textContent: "GPUs share the heads (tensor parallelism). Engines hand out memory in blocks of "
      + "tokens. vLLM, SGLang and llama.cpp can drop what a window has passed, and keep somewhat more than the window. "
      + "With an option, and for models for which they cannot, they keep all tokens in every layer." }));

  const other = make("details", "calculator-more");
  const text = make("textarea", "calculator-field", { rows: 4, spellcheck: false });
  const hub = make("input", "calculator-field", { type: "text", spellcheck: false, autocomplete: "off", placeholder: "org/name" });
  const answer = make("p", "calculator-answer", { role: "status" });
  const button = (name, press) => {
    const made = make("button", "calculator-button", { type: "button", textContent: name });
    made.addEventListener("click", press);
    return made;
  };
  other.append(make("summary", "", { textContent: "a model of your own" }),
    labelled("paste a config.json", text, "calculator-label"), button("read it", () => ask({ config: text.value })),
    labelled("or a name on the Hub (org/name)", hub, "calculator-label"), button("read it from the Hub", () => ask({ name: hub.value.trim() })),
    answer);
  let waiting, late;
  function ask(what) {
    if (!model.send) return void (answer.textContent = NO_KERNEL); // a page with nothing behind it
    waiting = Math.random();
    answer.textContent = "Python reads it.";
    clearTimeout(late);
    late = setTimeout(() => { answer.textContent = NO_ANSWER; }, 5000);
    model.set("asked", { number: waiting, ...what });
    model.save_changes();
  }
  function hear() {
    const { number, name, error } = model.get("answer");
    if (number === undefined || number !== waiting) return;
    waiting = undefined;
    clearTimeout(late);
    answer.textContent = error ?? `Chosen: ${name}.`;
    answer.classList.toggle("calculator-wrong", error !== undefined);
    if (name !== undefined) queueMicrotask(() => choose("model", name)); // a change within one is not told
  }

  sliders.bytes.element.classList.add("calculator-bytes"); // it says more
  const panel = make("div", "calculator-controls");
  const { s, b, bytes, l, n, g, h, source } = sliders;
  panel.append(models.element, others.element, ...[s, b, bytes].map((x) => x.element), labelled("weights, GB", weights),
    ...[l, n, g, h, source].map((x) => x.element), engines, other);
  panel.addEventListener("keydown", (event) => event.stopPropagation()); // the notebook's shortcuts
  for (const field of panel.querySelectorAll("input, textarea, summary, button"))
    field.dataset.lmSuppressShortcuts = "true";
  const card = make("div", "calculator-card");
  const compared = make("p", "calculator-versus", { ariaLive: "polite" });
  const bills = [0, 1].map(() => {
    const parts = [make("div", ""), make("p", "calculator-words", { ariaLive: "polite" }), make("div", "")];
    const element = make("div", "calculator-bill");
    element.append(...parts);
    return { element, parts };
  });
  card.append(compared);

  function follow() {
    const now = state();
    const { c, facts } = now;
    const named = every().map((x) => x.name);
    models.show([own, ...named], c.model);
    others.show([NOTHING, ...named], c.beside || NOTHING);
    for (const [name, { show }] of Object.entries(sliders)) {
      const { label, values, texts } = offered(name, now);
      show(label, texts, values.indexOf(c[name]));
    }
    if (weights.valueAsNumber !== c.weights && document.activeElement !== weights) weights.value = c.weights;
    for (const { radio } of radios) radio.checked = radio.value === c.pages;
    const m = found(c);
    fieldset.hidden = !m.layers.some((x) => x.window !== null);
    enginesName.textContent = ["what engines do", c.gpus > 1 && `${c.gpus} GPUs`, c.block > 1 && `blocks of ${c.block}`,
      !fieldset.hidden && c.pages === "all" && "all tokens in every layer"].filter(Boolean).join(" · ");
    source.element.hidden = !m.layers.some((x) => x.cross);
    const shown = [m, c.beside && found({ model: c.beside })].filter(Boolean);
    const all = shown.map((x) => sizes(x, c));
    const more = shown.length > 1 ? versus(shown, all) : "";
    if (compared.textContent !== more) compared.textContent = more;
    bills.forEach(({ element, parts }, i) => {
      if (!shown[i]) return element.remove();
      if (!element.isConnected) card.append(element);
      const weights = i ? facts.weights[c.beside] ?? null : c.weights;
      const page = bill(shown[i], { ...c, weights }, facts, all[i], all);
      parts.forEach((part, j) => {
        if (part.written !== page[j]) part.innerHTML = part.written = page[j]; // the words are read out
      });
    });
    hear();
    el.dataset.ready = "true";
  }
  model.on("change", follow);
  el.classList.add("calculator");
  el.append(panel, card);
  el.choose = (name, value) => { // by words, as a page's address has them; what is not there is left
    const named = every().map((x) => x.name);
    const typed = [Number(value)].filter((x) => x >= 0 && x <= 10000);
    const lists = { model: [own, ...named], beside: ["", ...named], pages: Object.keys(pages), weights: typed };
    const there = lists[name] ?? offered(name, state()).values;
    const found = name === "weights" ? there[0] : there.find((x) => String(x) === value);
    if (found !== undefined && found !== model.get("chosen")[name]) choose(name, found);
  };
  follow();
  return () => {
    model.off("change", follow);
    clearTimeout(late);
  };
}

export { entry, kvBytes };
export default { render };
