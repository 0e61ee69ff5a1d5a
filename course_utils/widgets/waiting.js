// A check that waits for a busy kernel: JupyterLab marks it with [*], and this with words, after
// half a second. Once in a notebook, whichever of its questions is shown first.
const CHECK = /\bcheck\(\s*["']\d\d\./;

async function sayWhatWaits(el) {
  while (!el.isConnected) await new Promise(requestAnimationFrame);
  const notebook = el.closest(".jp-Notebook");
  if (!notebook || notebook.dataset.saysWhatWaits) return;
  notebook.dataset.saysWhatWaits = "true";
  const isPrompt = ({ target }) => target.nodeType === 1 && target.matches(".jp-InputPrompt");
  const observer = new MutationObserver((changes) => {
    for (const { target } of changes.filter(isPrompt)) {
      const cell = target.closest(".jp-CodeCell");
      const waits = target.textContent.includes("*") && CHECK.test(cell.textContent);
      cell.classList.toggle("check-waits", waits);
    }
  });
  observer.observe(notebook, { childList: true, subtree: true });
}
