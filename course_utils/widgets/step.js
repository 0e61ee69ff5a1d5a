// A whole decode step, its weights and its cache: step.py has the same formula.
function step({ g, b, s, bytes }, [bandwidth, , peak, memory], { l, n, h, weights }) {
  function part(fill, n_bytes, n_flop) {
    const [reading, computing] = [n_bytes / (bandwidth * 1e6), n_flop / (peak * 1e9)];
    const by = reading < computing ? "computing" : "reading";
    return { fill, n_bytes, by, ms: Math.max(reading, computing) };
  }
  const parts = [
    part("#999", bytes * weights, 2 * b * weights),
    part("#e69f00", 2 * l * b * g * h * s * bytes, b * l * (4 * n * h * s)),
  ];
  const ms = parts[0].ms + parts[1].ms;
  const room = (memory * 1e9 - parts[0].n_bytes) / (parts[1].n_bytes / b); // users who fit
  const needed = (parts[0].n_bytes + parts[1].n_bytes) / 1e9;
  return { g, parts, ms, room, needed, rate: (1000 * b) / ms };
}

function said(chosen, { parts: [weights, cache], ms, rate, room, needed }, memory) {
  const part = (x) => `${number(x.ms)} ms (${x.by})`;
  const gb = (x) => `${number(x)} GB of ${number(memory)}`;
  let fit = `${gb(needed)}.`;
  if (room < chosen.b) fit = `They do not fit: ${gb(needed)}.`;
  if (room <= 0) fit = `The weights alone do not fit: ${gb(weights.n_bytes / 1e9)}.`;
  const users = chosen.b === 1 ? "one user" : `each of ${chosen.b} users, ${number(rate)} in all`;
  return `${number(ms)} ms a step: ${number(1000 / ms)} tokens a second for ${users}. `
    + `Weights ${part(weights)}, cache ${part(cache)}. ${fit}`;
}

// Above, bars of the step at a few g, to one scale; below, tokens a second over users. The y axis
// follows the machine and nothing else, so that what the other sliders move is the lines.
function draw(chosen, facts, width, height = 470) {
  const machine = facts.machines[chosen.machine];
  const at = (changes) => step({ ...chosen, ...changes }, machine, facts);
  const words = said(chosen, at({}), machine[3]);
  const every = [...new Set([...facts.shown, chosen.g])].sort((a, b) => a - b); // fastest first
  const color = (g) => ["#1a1a1a", "#0072b2", "#d55e00"][facts.shown.indexOf(g)] ?? "#009e73";
  const bold = (g) => (g === chosen.g ? 'style="font-weight: 700"' : "");

  const stripes = (x, y, w) => Array.from({ length: Math.ceil(w / 5) }, (_, i) =>
    line([[x + 5 * i + 1, y], [x + 5 * i + 1, y + 18]], 'stroke="#1a1a1a"')).join("");
  const box = (x, y, w, fill, by) =>
    `<rect x="${x}" y="${y}" width="${w}" height="18" fill="${fill}"/>` + (by === "computing" ? stripes(x, y, w) : "");
  let shapes = write(0, 16, `A step with ${number(facts.weights / 1e9)} billion weights at every g`);
  const legend = { weights: ["#999"], cache: ["#e69f00"], computing: ["white", "computing"] };
  Object.entries(legend).forEach(([name, look], i) => {
    shapes += box(90 * i, 28, 18, ...look) + write(90 * i + 24, 42, name);
  });
  const longest = at({ g: facts.n }).ms;
  every.toReversed().forEach((g, row) => {
    const [{ parts, ms }, y] = [at({ g }), 56 + 26 * row];
    let x = 60;
    for (const { ms, fill, by } of parts) {
      const w = (ms / longest) * (width - 60 - 92);
      shapes += box(x, y, w, fill, by);
      x += w;
    }
    shapes += write(0, y + 14, `g = ${g}`, bold(g)) + write(x + 6, y + 14, `${number(ms)} ms`, bold(g));
  });

  const area = { left: 76, right: width - 56, top: 200, bottom: height - 50 };
  const users = facts.users;
  const limits = [
    at({ g: facts.n, b: users[0], s: facts.most, bytes: 2 }).rate / 1.2,
    at({ g: 1, b: users.at(-1), s: facts.fewest, bytes: 1 }).rate * 1.2,
  ];
  const x = log(users[0], users.at(-1), area.left + 10, area.right - 10);
  const y = log(...limits, area.bottom, area.top);
  const point = (g) => (b) => [x(b), y(at({ g, b }).rate)];
  const marked = users.filter((_, i) => width > 480 || i % 3 === 0);
  shapes += axes(area, x, marked, "users b (log)", y, limits, "tokens/s in all (log)")
    + write(0, 186, "■ memory is full, dotted: does not fit")
    + line([[x(chosen.b), area.top], [x(chosen.b), area.bottom]], 'stroke="#777"');
  let lowest = 0;
  const full = [];
  for (const g of every) {
    const { room } = at({ g });
    const end = Math.min(room, users.at(-1));
    const look = `stroke="${color(g)}" stroke-width="${g === chosen.g ? 4 : 2}"`;
    const fits = room < 1 ? [] : [...users.filter((b) => b < end), end];
    const rest = end < users.at(-1) ? [Math.max(end, 1), ...users.filter((b) => b > end)] : [];
    shapes += line(fits.map(point(g)), look);
    shapes += line(rest.map(point(g)), `${look} stroke-linecap="round" stroke-dasharray="0.1 7"`);
    if (fits.length && rest.length) {
      const [cx, cy] = point(g)(end);
      shapes += `<rect x="${cx - 5}" y="${cy - 5}" width="10" height="10" fill="#1a1a1a"/>`;
    }
    lowest = Math.max(lowest + 16, point(g)(users.at(-1))[1]);
    shapes += write(area.right + 4, lowest + 5, `g = ${g}`, bold(g));
    full.push(`${g}: ${number(at({ g }).ms)} ms, ${Math.max(0, Math.floor(room))} users fit`);
  }
  const [cx, cy] = point(chosen.g)(chosen.b);
  shapes += `<circle cx="${cx}" cy="${cy}" r="7" fill="white" stroke="#1a1a1a" stroke-width="3"/>`;
  const alt = "Bars of a step's ms, weights and cache, and lines of tokens a second of all users over "
    + `their number, log scales. For g = ${full.join("; ")}.`;
  return { height, shapes, alt, words };
}

export default { render: (view) => formula(view, draw) };
