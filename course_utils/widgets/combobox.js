// A text field that finds a name as one types, with a list below it: ARIA's combobox. Arrows go
// through the list, Enter takes a name, Escape leaves it as it was.
// `element` is to be shown, `show` names what is chosen; the reader's choice goes to `moved`.
function combobox(label, nothing, moved) {
  const id = `names-${Math.random().toString(36).slice(2)}`;
  const name = make("label", "slider-name", { htmlFor: id, textContent: label });
  const field = make("input", "combobox-field", { id, type: "text", autocomplete: "off", spellcheck: false });
  const list = make("ul", "combobox-list", { id: `${id}-list`, hidden: true, role: "listbox", ariaLabel: label });
  const element = make("div", "slider-control combobox");
  element.append(name, field, list);
  const says = { role: "combobox", "aria-autocomplete": "list", "aria-controls": list.id, "aria-expanded": "false" };
  for (const [key, value] of Object.entries(says)) field.setAttribute(key, value);
  field.dataset.lmSuppressShortcuts = "true";

  let [names, chosen, found, at] = [[], "", [], -1];

  const bare = (x) => x.toLowerCase().replace(/[^\p{L}\p{N}]/gu, ""); // its letters and digits
  function open(text) { // with the names that have all words of the text
    const words = text.split(/\s+/).map(bare);
    found = names.filter((x) => words.every((word) => bare(x).includes(word)));
    list.replaceChildren(...found.map((x, i) => {
      const option = make("li", "combobox-option", { id: `${id}-${i}`, role: "option", textContent: x });
      option.setAttribute("aria-selected", "false");
      return option;
    }));
    if (!found.length) list.append(make("li", "combobox-nothing", { role: "option", ariaDisabled: "true", textContent: nothing }));
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    go(text ? 0 : Math.max(found.indexOf(chosen), 0));
  }
  function go(i) {
    at = Math.min(Math.max(i, 0), found.length - 1);
    [...list.children].forEach((option, j) => option.setAttribute("aria-selected", `${j === at}`));
    if (at < 0) return field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-activedescendant", `${id}-${at}`);
    const option = list.children[at]; // seen in the list, without scrolling the page
    list.scrollTop = Math.min(option.offsetTop, Math.max(list.scrollTop, option.offsetTop + option.offsetHeight - list.clientHeight));
  }
  function close() {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
    field.value = chosen;
  }
  function take(i) {
    const taken = found[i];
    close();
    if (taken !== undefined) moved(taken);
    field.select();
  }

  field.addEventListener("input", () => open(field.value.trim()));
  field.addEventListener("click", () => list.hidden && (field.select(), open("")));
  field.addEventListener("mouseup", (event) => list.hidden && event.preventDefault()); // it would unselect
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    const { key } = event;
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[key];
    event.stopPropagation(); // the notebook's shortcuts
    if (step && list.hidden) open("");
    else if (step) go(at + step);
    else if (key === "Enter" && !list.hidden) take(at);
    else if (key === "Escape" && !list.hidden) close();
    else return;
    event.preventDefault();
  });
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
  list.addEventListener("click", (event) => {
    const i = [...list.children].indexOf(event.target.closest(".combobox-option"));
    if (i >= 0) take(i);
  });
  function show(all, name) {
    names = all;
    chosen = name;
    if (list.hidden) field.value = name;
  }
  return { element, show };
}
