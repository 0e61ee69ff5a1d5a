"""Where a machine reads longer than it computes: the least time of a decode step, over g."""

from course_utils.cost import decode_bytes, decode_flop, step_time
from course_utils.widgets.formula import Formula, number
from course_utils.widgets.slider import BYTES, OWN, source

HEAD_DIM, N_TOKENS = 128, 4096


def round_numbers(low, high):
    """A set of round numbers from low to high, ten to a decade.

    >>> sorted(round_numbers(5, 16))
    [5, 6.3, 8, 10, 12.5, 16]
    """
    decade = (1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 8)
    every = (float(f"{x}e{k}") for k in range(-3, 5) for x in decade)
    return {int(x) if x.is_integer() else x for x in every if low <= x <= high}


class Roof(Formula):
    """Sliders for a machine and, beside them, the least time of a decode step of one layer, over g.

    machines {name: (bandwidth in GB/s, peaks in Tflop/s in float32 and half, …)}; start are values
    to begin with. Choosing a machine or the bytes moves bandwidth and peak; moving one of these
    makes the machine "your own".

    >>> roof = Roof({"a T4": (320, 8.1, 65)}, bytes=4)
    >>> roof.words()
    'Reading takes longer at every g. From g = 32 to 1: 32 × fewer bytes, at most 32 × faster, \
0.419 → 0.0131 ms.'
    >>> roof.choose(peak=1.6)
    >>> roof.chosen["machine"], roof.words()[:48]
    ('your own', 'Reading and computing take as long at g = 3.2. F')
    """

    _esm = source("control.js", "formula.js", "roof.js")

    def __init__(self, machines, **start):
        bandwidths, *peaks = zip(*(machine[:3] for machine in machines.values()), strict=True)
        bandwidths = sorted(round_numbers(10, 10_000) | {*bandwidths})
        peaks = sorted(round_numbers(0.05, 2000) | {*sum(peaks, ())})
        choices = {
            "machine": ("machine", {name: name for name in [OWN, *machines]}),
            "bandwidth": ("bandwidth", {x: f"{number(x, 4)} GB/s" for x in bandwidths}),
            "peak": ("peak", {x: f"{number(x, 4)} Tflop/s" for x in peaks}),
            "bytes": ("bytes a number", {x: BYTES[x] for x in (1, 2, 4)}),
            "n": ("n · query heads", {n: str(n) for n in (8, 16, 32, 64, 128)}),
        }
        facts = {
            "machines": {name: list(machine[:3]) for name, machine in machines.items()},
            "own": OWN,
            "head_dim": HEAD_DIM,
            "n_tokens": N_TOKENS,
            "fastest": step_time(0, decode_flop(1, HEAD_DIM, N_TOKENS), bandwidths[0], peaks[-1]),
            "slowest": step_time(
                decode_bytes(1, HEAD_DIM, N_TOKENS, 4), 0, bandwidths[0], peaks[-1]
            ),
        }
        super().__init__(
            choices, facts, {"n": 32, "bytes": 4, "machine": next(iter(machines))} | start
        )

    def coupled(self, chosen, moved):
        """What is chosen after this slider was moved: a machine goes with its numbers."""
        if moved in ("bandwidth", "peak"):
            return chosen | {"machine": OWN}
        if chosen["machine"] == OWN:
            return chosen
        bandwidth, float32, half = self.facts["machines"][chosen["machine"]]
        return chosen | {"bandwidth": bandwidth, "peak": float32 if chosen["bytes"] == 4 else half}

    def numbers(self, machine=None):
        """g where reading and computing take as long, and the ms of a step at g = n and g = 1."""
        c = self.chosen
        if machine:
            c = self.coupled(c | {"machine": machine}, "machine")
        bandwidth, peak, per_element, n = c["bandwidth"], c["peak"], c["bytes"], c["n"]
        flop = decode_flop(n, HEAD_DIM, N_TOKENS)
        few, many = (decode_bytes(g, HEAD_DIM, N_TOKENS, per_element) for g in (1, n))
        times = (step_time(n_bytes, flop, bandwidth, peak) for n_bytes in (many, few))
        return 2 * n * bandwidth / (1000 * per_element * peak), *times

    def words(self):
        """What the picture says, in the same words as below it."""
        n, (equal, many, few) = self.chosen["n"], self.numbers()
        where = f"{'Reading' if equal <= 1 else 'Computing'} takes longer at every g."
        if 1 < equal < n:
            where = f"Reading and computing take as long at g = {number(equal, 2)}."
        return (
            f"{where} From g = {n} to 1: {n} × fewer bytes, at most {number(many / few, 2)} × "
            f"faster, {number(many)} → {number(few)} ms."
        )

    def table(self):
        """For readers without sliders: every machine with these bytes and heads."""
        n = self.chosen["n"]
        rows = []
        for machine in self.facts["machines"]:
            equal, many, few = self.numbers(machine)
            times = [f"{number(x)} ms" for x in (many, few)]
            rows.append([machine, number(equal, 2), *times, f"× {number(many / few, 2)}"])
        return ["machine", "equal at g", f"g = {n}", "g = 1", "faster, at most"], rows
