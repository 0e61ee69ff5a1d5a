// The least time of a decode step of one layer, over g: roof.py has the same formula.
function coupled(chosen, moved, { machines, own }) {
  if (moved === "bandwidth" || moved === "peak") return { ...chosen, machine: own };
  if (!(chosen.machine in machines)) return chosen;
  const [bandwidth, float32, half] = machines[chosen.machine];
  return { ...chosen, bandwidth, peak: chosen.bytes === 4 ? float32 : half };
}

// The y axis goes from the fastest to the slowest that the sliders can ask for, so that what moves
// is the lines; it grows with n as the times do. A step of a slider moves the crossing far sideways,
// as the lines meet at a flat angle.
function draw({ bandwidth, peak, bytes, n }, { head_dim, n_tokens, fastest, slowest }, width, height = 450) {
  const reading = (g) => (2 * g * head_dim * n_tokens * bytes) / (bandwidth * 1e6);
  const computing = (4 * n * head_dim * n_tokens) / (peak * 1e9);
  const least = (g) => Math.max(reading(g), computing);
  const equal = (2 * n * bandwidth) / (1000 * bytes * peak);
  const inside = 1 < equal && equal < n;
  const words = (inside ? `Reading and computing take as long at g = ${number(equal, 2)}. `
    : `${equal <= 1 ? "Reading" : "Computing"} takes longer at every g. `)
    + `From g = ${n} to 1: ${n} × fewer bytes, at most ${number(least(n) / least(1), 2)} × faster, `
    + `${number(least(n))} → ${number(least(1))} ms.`;

  const area = { left: 76, right: width - 18, top: 48, bottom: height - 50 };
  const every = Array.from({ length: Math.log2(n) + 1 }, (_, i) => 2 ** i);
  const x = log(1, n, area.left + 10, area.right - 10);
  const limits = [(fastest * n) / 2, slowest * n * 1.5];
  const y = log(...limits, area.bottom, area.top);
  const at = (of) => (g) => [x(g), y(of(g))];
  const corners = [1, ...(inside ? [equal] : []), n];
  const level = y(computing);
  const first = equal < n; // at g = n reading is longer, and its name stands above
  const shapes =
    axes(area, x, every, "K/V heads g (log)", y, limits, "ms for a decode step (log)")
    + line(corners.map(at(least)), 'stroke="#999" stroke-width="9" stroke-linejoin="round"')
    + line([1, n].map(at(reading)), 'stroke="#d55e00" stroke-width="2.5"')
    + line([[x(1), level], [x(n), level]], 'stroke="#0072b2" stroke-width="2.5" stroke-dasharray="8 5"')
    + every.map(at(least)).map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="5" fill="#1a1a1a"/>`).join("")
    + (inside ? line([[x(equal), area.top], [x(equal), area.bottom]], 'stroke="#1a1a1a" stroke-dasharray="2 4"')
      + write(Math.min(Math.max(x(equal), 120), width - 70), 40, `equal at g = ${number(equal, 2)}`, MIDDLE) : "")
    + write(0, 16, `One layer, one user, s = ${number(n_tokens, 4)}, h = ${head_dim}`)
    + write(x(1), y(least(n ** (92 / (x(n) - x(1))))) - 12, "the least time")
    + write(x(n), y(reading(n)) + (first ? -12 : 24), "reading", END)
    + write(x(n), level + (first ? 24 : -12), "computing", END);
  const alt = "Milliseconds of a decode step over g, log scales: reading rises with g, computing is "
    + "level, and the thick line, the least time, is the longer of both.";
  return { height, shapes, alt, words };
}

export default { render: (view) => formula(view, draw, coupled) };
