"""The picture of the course: what one number, g, does to everything else."""

from statistics import fmean

from matplotlib.patches import Rectangle

from course_utils.attention import group_size
from course_utils.experiments.diversity import similarity
from course_utils.figures.card import KEY, LOOK, Card, ink
from course_utils.figures.heads import alike, alike_bar, hue, mosaic
from course_utils.figures.parts import DARK, around, bare, speed, wires


@LOOK
def hero(*, n_heads, keys, cache_bytes, quality, times, model):
    """n query heads on g K/V heads: wiring, the K each head reads, likeness, cache, time, quality.

    keys (g, s, h). For every g of the slider: cache_bytes {g: bytes}, quality {g: list of
    accuracies, one a seed}, times {g: (quartile, median, quartile) ms of a decode step}.
    model names the model whose cache it is. The cache is shown in GiB.
    """
    n, g = n_heads, len(keys)
    r = group_size(n, g)
    each = f"{r} to one" if r > 1 else "one each"
    share = f"{g} K/V head{'s' * (g > 1)} for {n} query heads, {each}"
    sizes = {one: n_bytes / 2**30 for one, n_bytes in cache_bytes.items()}
    size, less = f"{sizes[g]:.3g} GiB", cache_bytes[n] // cache_bytes[g]
    took = [f"{times[g][1]:.1f} ms"] + [speed(times[n][1], times[g][1])] * (g < n)
    accuracy, name = fmean(quality[g]), " ".join(model.split())
    figure = Card(
        11,
        7.8,
        f"{share}. Different key maps: {g} of {n}. Similarity matrix: along the diagonal {g} "
        f"framed block{'s' * (g > 1)} of ones, {r} wide. Cache of {name}: {size}, the "
        f"one for g = {n} divided by {less}. Attention in a decode step: {', '.join(took)}. "
        f"Recall accuracy {accuracy:.2f}.",
    )
    figure.suptitle(f"g = {g}: {share}", x=0.004, ha="left", fontsize=15)
    top, maps, charts = figure.subfigures(3, 1, height_ratios=[1, 2.8, 2])
    wiring, heads = top.subplots(), maps.subplots()
    likeness, memory, time, accuracies = charts.subplots(1, 4, width_ratios=[1.3, 1, 1, 1])
    read = keys.repeat_interleave(r, dim=0)  # (n, s, h): what each query head reads

    def box(x, y, color, i, hatch):
        hatch = hatch if r > 1 else None
        look = {"fc": color, "ec": ink(color) if hatch else "black", "hatch": hatch}
        wiring.add_patch(Rectangle((x - 0.43, y - 0.375), 0.86, 0.75, zorder=2, **look))
        look = {"color": ink(color), "fontsize": 11, "ha": "center", "va": "center"}
        if hatch:  # no line through the number
            look["bbox"] = {"fc": color, "ec": "none", "pad": 1}
        wiring.text(x, y, i, zorder=3, **look)

    wires(wiring, n, g, box, hue=lambda j: hue(j, r), edge=0.375)
    wiring.set(xlim=(-3.6, n - 0.4), ylim=(-0.6, 2.1))
    s, h = keys.shape[1:]
    mosaic(heads, read, g)
    rows = range(0, n, 8)
    heads.set_yticks(
        [i // 8 * (s + 1) + (s - 1) / 2 for i in rows],
        [f"heads\n{i}–{min(i + 8, n) - 1}" for i in rows],
    )
    heads.set_xticks([])
    bare(heads)
    heads.set_title(
        f"Keys that each query head reads, a map for each: {s} doors down, {h} numbers across",
        fontsize=12,
    )
    alike_bar(charts, alike(likeness, similarity(read), g), likeness)
    likeness.set_xticks([0, n - 1], [0, n - 1])
    likeness.set_yticks([0, n - 1], [0, n - 1])
    likeness.set_title("How alike the keys\nof two heads are", fontsize=12)
    bars(memory, sizes, g, KEY, "//", size + f"\n{less}× less" * (g < n))
    memory.set(ylim=(0, 1.45 * sizes[n]), ylabel="GiB")
    memory.set_title(f"Cache of {model}", fontsize=12)
    medians, reach = around(times.values())
    medians = dict(zip(times, medians, strict=True))
    bars(time, medians, g, DARK, "..", "\n".join(took), yerr=reach, capsize=4)
    time.set(ylim=(0, 1.45 * max(high for _, _, high in times.values())), ylabel="ms")
    time.set_title("Time of attention\nin a decode step", fontsize=12)
    points(accuracies, quality, g)
    return figure


def bars(axes, heights, g, color, hatch, text, **more):
    """A bar for every g of heights {g: y}, this one filled and with its numbers, as text."""
    names = [str(one) for one in heights]
    drawn = axes.bar(names, heights.values(), color="white", ec=color, hatch=hatch, **more)
    drawn[names.index(str(g))].set(facecolor=color, hatch=None)
    look = {"va": "top", "fontweight": "bold", "in_layout": False}  # its width moves nothing
    axes.text(0.03, 0.97, text, transform=axes.transAxes, **look)
    axes.set_xlabel("K/V heads g")


def points(axes, quality, g):
    """Accuracy of every seed for every g, and the mean of this one."""
    for place, (one, seeds) in enumerate(quality.items()):
        filled = one == g
        axes.plot(
            [place] * len(seeds), seeds, "o", markersize=9 if filled else 6,
            color="#000000" if filled else "white", mec="#000000",
        )  # fmt: skip
        if filled:
            axes.annotate(
                f"{fmean(seeds):.2f}", (place, min(seeds)), (0, -20),
                textcoords="offset points", ha="center", fontweight="bold", in_layout=False,
            )  # fmt: skip
    axes.set_xticks(range(len(quality)), list(quality))
    axes.set(ylim=(0, 1.1), xlim=(-0.8, len(quality) - 0.2), xlabel="K/V heads g")
    axes.set_title("Accuracy of recall,\na dot a training", fontsize=12)
