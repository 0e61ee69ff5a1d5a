// A check that waits for a busy kernel: JupyterLab marks it with [*], and this with words, after
// half a second. Once in a notebook, whichever of its questions is shown first.
const CHECK = /\bcheck\(\s*["']\d\d\./;

async function sayWhatWaits(el) {
  for (let i = 0; i < 100 && !el.isConnected; i++) await new Promise(requestAnimationFrame);
  const notebook = el.closest(".jp-Notebook");
  if (!notebook || notebook.dataset.saysWhatWaits) return;
  notebook.dataset.saysWhatWaits = "true";
  const look = () => notebook.querySelectorAll(".jp-CodeCell").forEach((cell) => {
    const busy = cell.querySelector(".jp-InputPrompt")?.textContent.includes("*");
    const waits = !!busy && CHECK.test(cell.querySelector(".jp-InputArea-editor")?.textContent);
    cell.classList.toggle("check-waits", waits);
  });
  new MutationObserver(look).observe(notebook, { childList: true, subtree: true });
}
