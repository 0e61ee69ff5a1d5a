// The theme, the controls, and which keys a presenter has.
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
root.dataset.theme = dark.matches ? "dark" : "light";

const widgets = JSON.parse(document.getElementById("widgets").textContent, (key, value) =>
  value?.base64 === undefined ? value : bytes(value.base64));
for (const look of new Set(Object.values(widgets).map(({ _css }) => _css ?? "")))
  document.head.prepend(Object.assign(document.createElement("style"), { textContent: look }));
for (const el of document.querySelectorAll(".control")) {
  const { _esm, ...state } = widgets[el.dataset.name];
  show(_esm, state, el).then(() => {
    const frame = el.querySelector("img");
    const tall = frame && frame.naturalHeight > 0.6 * frame.naturalWidth;
    el.classList.toggle("beside", tall); // the slider stands beside a tall picture
  });
}

// Of a question's answers one is open at a time, as all would not fit.
for (const screen of document.querySelectorAll(".screen"))
  for (const answer of screen.querySelectorAll("details")) answer.name = screen.parentElement.id;

const deck = new Reveal({
  width: 1280, height: 720, margin: 0, center: false, hash: true, transition: "none",
  navigationMode: "linear", slideNumber: "c/t", controls: false,
  plugins: [RevealNotes, RevealZoom],
  keyboard: { 68: () => { root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"; } },
});

// Space and a presenter's clicker turn the slide, whatever has the focus; only a choice takes Space.
document.addEventListener("keydown", (event) => {
  const step = { " ": "next", PageDown: "next", PageUp: "prev" }[event.key];
  const taken = event.key === " " ? "input[type=range]" : "input";
  if (!step || !event.target.closest?.(taken)) return;
  event.preventDefault();
  event.stopPropagation();
  deck[step]();
}, true);

// Tab finds what is on this slide, and nothing of the others.
function here() {
  document.activeElement?.blur();
  for (const screen of document.querySelectorAll(".screen"))
    screen.inert = screen.parentElement !== deck.getCurrentSlide();
}
deck.on("ready", here);
deck.on("slidechanged", here);
deck.initialize();
