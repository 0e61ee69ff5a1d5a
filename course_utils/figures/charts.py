"""Charts: points, lines and bars."""

from collections import Counter
from itertools import product
from statistics import fmean

from matplotlib.patches import Polygon

from course_utils.figures.card import KEY, KEY_TEXT, LATENT, LOOK, QUERY, VALUE, Card
from course_utils.figures.parts import STYLES, and_, two


@LOOK
def weighted_average(weights, values, tokens):
    """The average of s values (s, 2) as a point among them; a dot's area is its weight."""
    point = weights @ values
    at = ", ".join(f"{x:.3g}" for x in point.tolist())
    parts = [f"{w:.2g} · {token}" for w, token in zip(weights.tolist(), tokens, strict=True)]
    figure = Card(
        6.4,
        4.6,
        f"A dot for each value, a line from each to a star: {' + '.join(parts)} = ({at}).",
    )
    axes = figure.subplots()
    axes.add_patch(Polygon(values.tolist(), color=VALUE, alpha=0.12, linewidth=0))
    for (x, y), w, token in zip(values.tolist(), weights.tolist(), tokens, strict=True):
        axes.plot(*zip((x, y), point.tolist(), strict=True), color="#666666", lw=1 + 4 * abs(w))
        axes.scatter(x, y, s=150 + 1500 * abs(w), color=VALUE, zorder=3)
        away = 22 if y >= point[1] else -34
        axes.annotate(
            f"{token}, weight {w:.2g}", (x, y), (0, away), textcoords="offset points", ha="center"
        )
    axes.scatter(*point.tolist(), s=320, marker="*", color="black", zorder=4)
    axes.annotate(f"new vector ({at})", point.tolist(), (16, -16), textcoords="offset points")
    axes.set(xlabel="first number of a value", ylabel="second number", aspect="equal")
    axes.set_title(f"The average of the values is ({at})")
    axes.margins(0.3)
    return figure


@LOOK
def score_scale(widths, spread, raw, scaled):
    """Why √h: spread of q·k, and the largest of the weights, raw and scaled, against h.

    widths, spread, raw, scaled: one number for each head_dim h.
    """
    figure = Card(
        10,
        4.2,
        f"Two line charts over h from {widths[0]} to {widths[-1]}. Left: the measured spread of "
        f"q·k lies on √h, up to {spread[-1]:.0f}. Right: the largest weight climbs to "
        f"{raw[-1]:.2f} without scaling and stays near {scaled[-1]:.2f} with it.",
    )
    left, right = figure.subplots(1, 2)
    left.loglog(widths, [h**0.5 for h in widths], "--", color="#666666", label="√h")
    left.loglog(widths, spread, "o", color=QUERY, markersize=9, label="measured")
    left.set(ylabel="standard deviation of q·k (log)", title="Scores grow like √h")
    right.semilogx(widths, raw, "s-", color="#D55E00", markersize=8, label="softmax of q·k")
    right.semilogx(widths, scaled, "o-", color=QUERY, markersize=8, label="softmax of q·k / √h")
    right.set(ylabel="largest of 11 weights", ylim=(0, 1), title="Unscaled, one key takes all")
    left.set_yticks([2, 8, 32], [2, 8, 32])
    for axes in (left, right):
        axes.set_xlabel("h, numbers of a query or key")
        axes.set_xticks(widths, widths)
        axes.minorticks_off()
        axes.legend(frameon=False)
    return figure


@LOOK
def changes(with_mask, without, tokens, changed):
    """How much each new vector changes if the word at index `changed` is replaced, as two bars.

    with_mask, without: (s,) largest differences, where each row of them is exactly 0 or not.
    """
    s, word = len(tokens), tokens[changed]
    before = sum(x > 0 for x in with_mask[:changed].tolist())
    title = f"Replace “{word}”: with the mask, {before} of the {changed} words before it notice"
    figure = Card(10, 4.2, f"Two bars a word. {title}; without it, all {s} words may.")
    axes = figure.subplots()
    for bars, label, away, color, hatch in (
        (without, "without mask", -0.2, "#D55E00", "///"),
        (with_mask, "with mask", 0.2, VALUE, None),
    ):
        places = [i + away for i in range(s)]
        axes.bar(places, bars.tolist(), 0.38, label=label, color=color, hatch=hatch, ec="white")
        for x, y in zip(places, bars.tolist(), strict=True):
            if y == 0:
                axes.text(x, 0, "0", ha="center", va="bottom", color=color, fontweight="bold")
            elif y < 0.02:  # a bar too low to be seen
                look = {"color": color, "fontsize": 11, "rotation": 90}
                axes.text(x, y + 0.03, f"{y:.1g}", ha="center", va="bottom", **look)
    axes.set_xticks(range(s), tokens)
    axes.get_xticklabels()[changed].set_fontweight("bold")
    axes.set(ylabel="largest change of the new vector", ylim=(0, 1.95), title=title)
    axes.legend(frameon=False, loc="upper left", ncols=2)
    return figure


@LOOK
def writing(lengths, without, with_cache):
    """Milliseconds to write one token after so many, without a cache and with one.

    lengths: tokens in the text before each step; without, with_cache: ms of that step.
    """
    figure = Card(
        9,
        4.2,
        f"A mark a token, over {lengths[0]} to {lengths[-1]} tokens in the text. Without a cache "
        f"{two(without[0])} to {two(without[-1])} ms, with one {two(with_cache[0])} to "
        f"{two(with_cache[-1])}.",
    )
    axes = figure.subplots()
    axes.plot(lengths, without, "s", color="#D55E00", markersize=5, label="without a cache")
    axes.plot(lengths, with_cache, "o", color=KEY, markersize=5, label="with a cache")
    axes.set(xlabel="tokens in the text", ylabel="ms to write one more", ylim=(0, None))
    axes.legend(frameon=False, loc="upper left")
    axes.set_title("Without a cache a token costs more, the longer the text")
    return figure


@LOOK
def appending(lengths, times):
    """Milliseconds to append one token to a cache of each length: times {way: ms at each length}.

    At most four ways.
    """
    said = "; ".join(f"{way}: {two(ms[0])} to {two(ms[-1])} ms" for way, ms in times.items())
    figure = Card(
        9, 4.6, f"Lines over {lengths[0]} to {lengths[-1]} tokens in the cache, log scales. {said}."
    )
    axes = figure.subplots()
    for (way, ms), (color, marker, line) in zip(times.items(), STYLES, strict=False):
        axes.loglog(lengths, ms, ls=line, marker=marker, color=color, markersize=8, label=way)
    axes.set(xlabel="tokens in the cache (log)", ylabel="ms to append one (log)")
    axes.set_xticks(lengths, [f"{s:,}" for s in lengths])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.legend(frameon=False)
    axes.set_title("torch.cat copies the past for every token")
    return figure


@LOOK
def outgrowing(users, token_bytes, weight_bytes, max_tokens, top):
    """GB of cache of so many users against the tokens of each, and the GB of the model's weights.

    token_bytes: what one token of one user takes; the axes end at max_tokens and `top` GB.
    """
    end, weights = users * token_bytes * max_tokens / 1e9, weight_bytes / 1e9
    meet = weight_bytes / (users * token_bytes)
    who = f"{users} user{'s' * (users > 1)}"
    title = f"{who}: {end:.1f} GB of cache at {max_tokens:,} tokens, less than the weights"
    if meet < max_tokens:
        title = f"{who}: the cache outgrows the weights at {meet:,.0f} tokens each"
    figure = Card(
        9,
        4.4,
        f"A line of cache, rising to {end:.1f} GB at {max_tokens:,} tokens, and a level one of "
        f"weights at {weights:.2f} GB. {title}.",
    )
    axes = figure.subplots()
    axes.axhline(weights, ls="--", lw=2, color="#666666")
    axes.text(0, weights + top / 60, f" weights, {weights:.2f} GB, once for all", color="#444444")
    axes.plot([0, max_tokens], [0, end], lw=3, color=KEY)
    axes.annotate(
        "cache ", (max_tokens, end), (-4, 4), textcoords="offset points", ha="right", va="bottom",
        color=KEY_TEXT, fontweight="bold",
    )  # fmt: skip
    if meet < max_tokens:
        axes.plot(meet, weights, "o", color="black", markersize=9)
        axes.annotate(f"{meet:,.0f} tokens", (meet, weights), (8, -18), textcoords="offset points")
    ticks = [max_tokens * i // 8 for i in range(0, 9, 2)]
    axes.set_xticks(ticks, [f"{s:,}" for s in ticks])
    axes.set(xlabel="s, tokens of each user", ylabel="GB", ylim=(0, top))
    axes.set_xlim(0, 1.1 * max_tokens)  # room for the words beside the mark
    axes.set_title(title)
    return figure


def worth(m):
    """g; in a `Geometry` of kind MLA the g whose cache would be as large as its own."""
    return m.latent_dim / (2 * m.head_dim) if m.kind == "MLA" else m.n_kv_heads


@LOOK
def model_map(models, named, year=None):
    """Query heads n against K/V heads g of real models, a mark for each kind; `named` get names.

    models: a `Geometry` each; MLA, which caches no heads, stands at the g whose cache would be as
    large, a model whose layers differ at that of those that see all tokens; one without K/V heads
    is left out. named: {name: (dx, dy)}, points from its mark to the middle of its text. With a
    year, "2024", the models released in it, those of the years before pale behind.
    """
    kinds = {
        "MHA": ("s", "#D55E00"), "GQA": ("o", QUERY), "MQA": ("^", VALUE), "MLA": ("P", LATENT),
    }  # fmt: skip
    models = [m for m in models if m.kind in kinds and (not year or m.released[:4] <= year)]
    before = Counter((m.n_heads, worth(m)) for m in models if year and m.released[:4] < year)
    models = [m for m in models if not year or m.released[:4] == year]
    at = {kind: Counter() for kind in kinds}
    for m in models:
        at[m.kind][m.n_heads, worth(m)] += 1
    count = {kind: marks.total() for kind, marks in at.items()}
    eight = sum(k for (_, g), k in at["GQA"].items() if g == 8)
    of_year = f" of {year}" if year else ""
    title = f"{eight} of {count['GQA']} GQA models{of_year} have 8 K/V heads"
    if not count["GQA"]:
        title = f"No GQA model{of_year}"
    said = f"; {count['MHA']} MHA models lie on the diagonal, {count['MQA']} MQA at 1"
    if latents := sorted({g for _, g in at["MLA"]}):
        said += f", {count['MLA']} MLA by the size of their cache at {and_(latents)}"
    figure = Card(
        10,
        6,
        f"Scatter of {len(models)} models, query heads across and K/V heads up, both in steps of "
        f"two. {title}{said}."
        + f" Pale behind them {before.total()} of the years before."
        * bool(before),
    )
    axes = figure.subplots()
    if before:
        axes.scatter(
            *zip(*before, strict=True), s=[60 * k for k in before.values()], marker="o",
            color="#bbbbbb", alpha=0.5, label=f"before {year}: {before.total()}", zorder=2,
        )  # fmt: skip
    for kind, marks in at.items():
        if marks:
            marker, color = kinds[kind]
            label = f"{kind}{of_year}: {count[kind]}" + ", by its cache" * (kind == "MLA")
            axes.scatter(
                *zip(*marks, strict=True), s=[60 * k for k in marks.values()], marker=marker,
                color=color, alpha=0.75, label=label, zorder=3, edgecolors="white",
            )  # fmt: skip
    for m in models:
        if m.name in named:
            axes.annotate(
                m.name, (m.n_heads, worth(m)), named[m.name], textcoords="offset points",
                ha="center", va="center", arrowprops={"arrowstyle": "-", "color": "#666666"},
            )  # fmt: skip
    ticks = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(ticks[2:], ticks[2:])
    axes.set_yticks(ticks[:-1], ticks[:-1])
    axes.plot([4, 128], [4, 128], "--", color="#999999", zorder=1)
    axes.axhline(8, ls=":", color="#999999", zorder=1)
    axes.set(xlabel="query heads n", ylabel="K/V heads g", title=title, xlim=(3.3, 300))
    axes.set_ylim(0.78, 160)
    legend = axes.legend(frameon=False, loc="upper left", title="a larger mark: more models")
    for mark in legend.legend_handles:
        mark.set_sizes([60] * hasattr(mark, "set_sizes"))
    return figure


@LOOK
def published(scores, perplexity):
    """What sharing cost in published studies: score minus MHA's, a mark for each benchmark.

    scores: each has study, mha, mqa and gqa; mqa or gqa may be None. perplexity, which points
    cannot be averaged with, is said in words: {study: per cents above MHA's}.
    """
    studies, deltas = list(dict.fromkeys(score.study for score in scores)), {}
    for study, kind in product(studies, ("mqa", "gqa")):
        of = [(getattr(score, kind), score.mha) for score in scores if score.study == study]
        if delta := [x - mha for x, mha in of if x is not None]:
            deltas[study, kind] = delta

    def signed(x):
        return f"{x:+.1f}".replace("-", "−")

    means = {key: signed(fmean(x)) for key, x in deltas.items()}
    said = "; ".join(f"{study} {kind.upper()} {mean}" for (study, kind), mean in means.items())
    notes = {
        study: "MQA’s perplexity (lower is better): " + ", ".join(f"{signed(x)} %" for x in higher)
        for study, higher in perplexity.items()
    }
    of_mqa = [fmean(x) for (_, kind), x in deltas.items() if kind == "mqa"]
    below = sum(mean < 0 for mean in of_mqa)
    title = f"MQA’s mean lies below MHA’s in {below} of {len(of_mqa)} studies"
    figure = Card(
        10,
        1.6 + 0.85 * len(studies),
        "A lane for each study: benchmarks as marks, means as bars, in points above or below MHA. "
        f"{title}. Means: {said}." + "".join(f" {study}: {note}." for study, note in notes.items()),
    )
    axes = figure.subplots()
    for (study, kind), x in deltas.items():
        marker, color, away = ("^", VALUE, -0.18) if kind == "mqa" else ("o", QUERY, 0.18)
        y, mean = len(studies) - 1 - studies.index(study) + away, fmean(x)
        axes.plot(x, [y] * len(x), marker, color=color, alpha=0.6, markersize=8)
        axes.plot([mean, mean], [y - 0.15, y + 0.15], color=color, lw=4)
        axes.text(min(0, *x) - 0.3, y, means[study, kind], ha="right", va="center")
    for study, note in notes.items():  # below the lane
        y = len(studies) - 1 - studies.index(study) - 0.48
        axes.text(-0.3, y, note, ha="right", va="center", color="#444444")
    axes.axvline(0, color="black", lw=1)
    axes.set_yticks(range(len(studies)), reversed(studies))
    lowest = min(min(x) for x in deltas.values())
    axes.set(
        xlabel="points above or below MHA, a mark for each benchmark (bar and number: their mean)",
        xlim=(lowest - 2.6, None),
    )
    handles = [
        axes.plot([], [], "^", color=VALUE, label="MQA", markersize=8)[0],
        axes.plot([], [], "o", color=QUERY, label="GQA, 8 K/V heads", markersize=8)[0],
    ]
    axes.legend(handles=handles, frameon=False, loc="lower left")
    axes.set_title(title)
    return figure


@LOOK
def spread(samples, title, xlabel):
    """A lane of dots for each sample, a bar at its mean: samples {name: numbers}."""
    said = "; ".join(f"{name}: {fmean(x):.2f}" for name, x in samples.items())
    figure = Card(9, 1.5 + 0.7 * len(samples), f"Lanes of dots. {title}. Means, {said}.")
    axes = figure.subplots()
    for lane, (name, x) in enumerate(samples.items()):
        away = [lane + 0.5 * ((0.618 * i) % 1 - 0.5) * (len(x) > 5) for i in range(len(x))]
        mean = fmean(x)
        axes.plot(x, away, "o", color=QUERY, alpha=0.3 if len(x) > 5 else 0.9, label=name)
        axes.plot([mean, mean], [lane - 0.4, lane + 0.4], color="black", lw=2)
        axes.annotate(f"{mean:.2f}", (mean, lane), (6, 13), textcoords="offset points")
    axes.set_yticks(range(len(samples)), [f"{name} ({len(x)})" for name, x in samples.items()])
    axes.set(xlabel=xlabel, title=title, ylim=(len(samples) - 0.4, -0.6), xlim=(0, 1))
    return figure


@LOOK
def cache_bars(names, mha, mqa):
    """Bytes of cache for one token, as MHA and as MQA: two bars for each model, to one scale."""
    times = [a // b for a, b in zip(mha, mqa, strict=True)]
    said = "; ".join(
        f"{name}: {a:,} and {b:,}, {x} times smaller"
        for name, a, b, x in zip(names, mha, mqa, times, strict=True)
    )
    figure = Card(10, 1.2 + 0.9 * len(names), f"Two bars a model, bytes as MHA and as MQA. {said}.")
    axes = figure.subplots()
    for i, (a, b, x) in enumerate(zip(mha, mqa, times, strict=True)):
        axes.barh(i - 0.2, a / 1000, 0.36, color="white", ec=KEY, hatch="//")
        axes.barh(i + 0.2, b / 1000, 0.36, color=KEY)
        axes.text(a / 1000, i - 0.2, f"  MHA {a / 1000:,.0f} kB", va="center")
        axes.text(b / 1000, i + 0.2, f"  MQA {b / 1000:,.0f} kB, {x} times smaller", va="center")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="kB of cache for each token", xlim=(0, 1.2 * max(mha) / 1000))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.invert_yaxis()
    axes.set_title("n heads share one key and value: n times smaller")
    return figure
