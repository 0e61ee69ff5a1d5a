"""What a whole decode step costs: weights and cache, over users, tokens and K/V heads."""

from dataclasses import replace

from course_utils.attention import divisors
from course_utils.cost import decode_flop, step_time
from course_utils.geometry import model as named
from course_utils.widgets.formula import Formula, number
from course_utils.widgets.slider import BYTES, source

N_WEIGHTS = 8_030_261_248  # of Llama-3 8B


class Step(Formula):
    """Sliders for users, tokens and g and, beside them, a whole decode step and tokens a second.

    machines {name: (bandwidth in GB/s, peaks in Tflop/s in float32 and half, memory in GB)}; model
    is a Geometry that caches heads, Llama-3 8B if None, and n_weights are its weights, as many for
    every g. start are values to begin with; the first machine that holds the users is chosen.

    >>> Step({"an H100": (3350, 67, 989, 80)}, g=8, b=32, s=8192).words()
    '15.1 ms a step: 66.4 tokens a second for each of 32 users, 2,130 in all. Weights \
4.79 ms (reading), cache 10.3 ms (reading). 50.4 GB of 80.'
    """

    _esm = source("control.js", "formula.js", "step.js")

    def __init__(self, machines, model=None, n_weights=N_WEIGHTS, **start):
        self.model = m = model or named("Llama-3 8B")
        users, tokens = [2**k for k in range(10)], [2**k for k in range(10, 18)]
        choices = {
            "machine": ("machine", {name: name for name in machines}),
            "g": ("g · K/V heads", {g: str(g) for g in divisors(m.n_heads)}),
            "b": ("b · users", {b: str(b) for b in users}),
            "s": ("s · tokens each", {s: f"{s:,}" for s in tokens}),
            "bytes": ("bytes a number", {x: BYTES[x] for x in (1, 2)}),
        }
        facts = {
            "machines": {name: list(machine[:4]) for name, machine in machines.items()},
            "l": m.n_layers,
            "n": m.n_heads,
            "h": m.head_dim,
            "weights": n_weights,
            "users": users,
            "fewest": tokens[0],
            "most": tokens[-1],
            "shown": [m.n_heads, m.n_kv_heads, 1],  # those that are always drawn
        }
        needed = (2 * n_weights + m.kv_bytes(n_tokens=8192, batch=32)) / 1e9
        holds = (name for name, machine in machines.items() if machine[3] >= needed)
        usual = {"machine": next(holds, next(iter(machines))), "g": m.n_kv_heads}
        super().__init__(choices, facts, usual | {"b": 32, "s": 8192, "bytes": 2} | start)

    def step(self, g):
        """(tokens a second of all users, how many would fit, bytes and words of both parts)."""
        c, m = self.chosen, replace(self.model, n_kv_heads=g)
        bandwidth, _, peak, memory = self.facts["machines"][c["machine"]]
        n_weights, b, s, per_element = self.facts["weights"], c["b"], c["s"], c["bytes"]
        sizes = per_element * n_weights, m.kv_bytes(s, b, per_element)
        flop = 2 * b * n_weights, b * m.n_layers * decode_flop(m.n_heads, m.head_dim, s)
        times, parts = [], []
        for n_bytes, n_flop in zip(sizes, flop, strict=True):
            ms, reading = (step_time(n_bytes, x, bandwidth, peak) for x in (n_flop, 0))
            times.append(ms)
            parts.append(f"{number(ms)} ms ({'reading' if ms == reading else 'computing'})")
        room = (memory * 10**9 - sizes[0]) / (sizes[1] / b)
        return 1000 * b / sum(times), room, sizes, parts

    def words(self):
        """What the picture says, in the same words as below it."""
        b, memory = self.chosen["b"], self.facts["machines"][self.chosen["machine"]][3]
        rate, room, (weights, cache), parts = self.step(self.chosen["g"])
        needed, fit = weights + cache, "They do not fit: " if room < b else ""
        if room <= 0:
            needed, fit = weights, "The weights alone do not fit: "
        users = "one user" if b == 1 else f"each of {b} users, {number(rate)} in all"
        return (
            f"{number(1000 * b / rate)} ms a step: {number(rate / b)} tokens a second for {users}. "
            f"Weights {parts[0]}, cache {parts[1]}. "
            f"{fit}{number(needed / 1e9)} GB of {number(memory)}."
        )

    def table(self):
        """For readers without sliders: a few g on this machine, with these users and tokens."""
        b, rows = self.chosen["b"], []
        for g in dict.fromkeys(self.facts["shown"]):
            rate, room, *_ = self.step(g)
            fit = f"{max(0, int(room)):,}"
            rows.append([f"g = {g}", f"{number(1000 * b / rate)} ms", number(rate), fit])
        return [self.chosen["machine"], "a step", "tokens a second in all", "users who fit"], rows
