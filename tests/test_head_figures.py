"""The pictures of lesson 08 show the tensors they are given, and say what there is to see."""

import copy
import io
import itertools

import pytest
import torch
from drawn import assert_nothing_is_cut_off, assert_only_what_changes_moves, plain, words
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from course_utils import figures
from course_utils.experiments.diversity import similarity

WORDS = [
    "<|begin_of_text|>",
    "one",
    "key",
    "opens",
    "the",
    "red",
    "door",
    ";",
    "one",
    "key",
    ",",
    "a",
]
MODELS = {  # query heads n, K/V heads g, head_dim h
    "mini": (32, 8, 16), "Llama-3-8B": (32, 8, 128), "SmolLM2-135M": (9, 3, 64),
    "Qwen2.5-0.5B": (14, 2, 64), "Qwen3-0.6B": (16, 8, 128), "TinyLlama": (32, 4, 64),
    "SmolLM2-1.7B": (32, 32, 64), "MQA": (32, 1, 16), "r = 2, g = 16": (32, 16, 16),
    "r = 9": (18, 2, 8), "n = 71": (71, 1, 8), "r = 8, g = 8": (64, 8, 128),
    "MHA, n = 9": (9, 9, 8),
}  # fmt: skip
every_model = pytest.mark.parametrize("model", MODELS)


def some(*shape, seed=0):
    """Numbers around 0, the same every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def looking(r, s=12, seed=0):
    """Causal attention maps (r, s, s) of r heads."""
    scores = 2 * some(r, s, s, seed=seed)
    return scores.masked_fill(torch.ones(s, s).triu(1).bool(), -torch.inf).softmax(-1)


def grid(model):
    n, g, h = MODELS[model]
    return {"K after RoPE": some(g, 12, h) * 5, "V": some(g, 12, h, seed=1)}, n, "A title"


def alike(model):
    n, g, h = MODELS[model]
    keys = some(g, 12, h).repeat_interleave(n // g, 0)
    return {"K": similarity(keys), "V": similarity(keys + 1)}, g, "A title"


def checkpoint(layers, last=False):
    """Sizes of the tensors of a checkpoint, in the file's order, and what is read of one layer."""
    sizes = {"embed_tokens": 1_050_673_152}
    for i in range(layers):
        of = {"input_layernorm": 8192, "mlp": 352_321_536, "k_proj": 8_388_608,
              "o_proj": 33_554_432, "q_proj": 33_554_432, "v_proj": 8_388_608}  # fmt: skip
        sizes |= {f"layers.{i}.{name}": n for name, n in of.items()}
    sizes |= {"norm": 8192, "lm_head": 1_050_673_152}
    layer = layers - 1 if last else 0
    read = {"embed_tokens": 98_304} | {
        f"layers.{layer}.{name}": sizes[f"layers.{layer}.{name}"]
        for name in ("input_layernorm", "k_proj", "v_proj")
    }
    return sizes, read, "A title"


def rows(h=16, names=("K before RoPE", "K after RoPE", "V"), pairs=((1, 8), (2, 9))):
    panels = {name: some(12, h, seed=i) for i, name in enumerate(names)}
    panels[names[0]][8] = panels[names[0]][1]
    return panels, WORDS, "A title", 3.0, pairs


FIGURES = {
    **{f"head_grid {model}": grid(model) for model in MODELS},
    **{f"likeness {model}": alike(model) for model in MODELS},
    "likeness alone": ({"V": similarity(some(4, 3, 2))}, 4, "A title"),
    **{f"group_maps {r}": (looking(r), WORDS, "A title", [*range(8, 8 + r)]) for r in range(1, 9)},
    "token_rows": rows(),
    "token_rows alone": rows(128, names=("K after RoPE",)),
    "token_rows plain": rows(64, pairs=()),
    "byte_map": checkpoint(32),
    "byte_map last": checkpoint(4, last=True),
    "byte_map whole": ({"k_proj": 300, "b": 5}, {"k_proj": 300, "b": 5}, "A title"),
}


def picture(axes):
    return torch.tensor(axes.images[0].get_array().filled(torch.nan))


@pytest.mark.parametrize("name", FIGURES)
def test_its_text_is_legible_inside_and_apart_and_what_it_is_given_is_left(name):
    given = copy.deepcopy(FIGURES[name])
    figure = getattr(figures, name.split()[0])(*given)
    figure.draw_without_rendering()
    assert plain(given) == plain(FIGURES[name])
    assert "A title" in figure.alt and len(figure.alt) > 40
    texts = figure.findobj(lambda x: hasattr(x, "get_fontsize"))
    assert min(x.get_fontsize() for x in texts) >= 11
    assert_nothing_is_cut_off(figure)
    assert figure.get_figwidth() <= 11
    boxes = [
        x.get_window_extent()
        for x in texts
        if x.get_text().strip() and x.axes and x.axes.get_visible() and x.get_visible()
    ]
    assert not [1 for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]


@pytest.mark.parametrize("name", ["head_grid SmolLM2-1.7B", "likeness mini", "token_rows"])
def test_headings_keep_their_colour_in_the_256_of_a_png(name):
    figure = getattr(figures, name.split()[0])(*FIGURES[name])
    shown = Image.open(io.BytesIO(figures.png(figure))).convert("RGB").getcolors(1 << 24)
    for colour in ("#8A5F00", figures.VALUE):
        wanted = [round(255 * x) for x in to_rgb(colour)]
        assert min(max(abs(a - b) for a, b in zip(c, wanted, strict=True)) for _, c in shown) <= 8


@every_model
def test_every_query_head_has_the_map_it_reads_in_the_hue_of_its_group(model):
    panels, n, title = grid(model)
    figure, g = figures.head_grid(panels, n, title), MODELS[model][1]
    r = n // g
    for axes, (name, x) in zip(figure.axes, panels.items(), strict=False):
        assert axes.get_title(loc="left") == name
        frames, drawn = axes.patches, picture(axes)
        assert len(frames) == n
        for i, frame in enumerate(frames):
            (x0, y0), (x1, y1) = (frame.get_bbox().get_points() + 0.5).clip(0).round().astype(int)
            inside = drawn[y0:y1, x0:x1]
            assert torch.equal(inside[~inside.isnan()].view(x.shape[1:]), x[i // r])
            inside[:] = torch.nan  # every number is in one frame
            hue = figures.GROUPS[i // r % 8] if r > 1 else "#d9d9d9"
            assert to_hex(frame.get_edgecolor()) == hue.lower()
            assert frame.get_linestyle() == (":" if r > 1 and i // r >= 8 else "-")
        assert drawn.isnan().all()
        top = x.abs().max().item()
        assert axes.images[0].get_clim() == (-top, top)


@pytest.mark.parametrize(
    "model, across, labels",
    [
        ("Llama-3-8B", 4, ["K/V head 0\nheads 0–3", "K/V head 7\nheads 28–31"]),
        ("mini", 4, ["K/V head 0\nheads 0–3", "K/V head 7\nheads 28–31"]),
        ("SmolLM2-135M", 3, ["K/V head 0\nheads 0–2", "K/V head 2\nheads 6–8"]),
        ("Qwen2.5-0.5B", 7, ["K/V head 0\nheads 0–6", "K/V head 1\nheads 7–13"]),
        ("Qwen3-0.6B", 2, ["K/V head 0\nheads 0–1", "K/V head 7\nheads 14–15"]),
        ("TinyLlama", 8, ["K/V head 0\nheads 0–7", "K/V head 3\nheads 24–31"]),
        ("SmolLM2-1.7B", 4, ["heads 0–3", "heads 28–31"]),
        ("MQA", 4, ["heads 0–3", "heads 28–31"]),
        ("n = 71", 8, ["heads 0–7", "heads 64–70"]),
        ("MHA, n = 9", 4, ["heads 0–3", "head 8"]),
    ],
)
def test_a_row_is_a_group_where_a_group_fits_into_a_row(model, across, labels):
    axes = figures.head_grid(*grid(model)).axes[0]
    assert len({round(p.get_x(), 3) for p in axes.patches}) == across
    assert words(axes.get_yticklabels())[:: len(axes.get_yticks()) - 1] == labels
    tops = sorted({p.get_y() for p in axes.patches})
    middles = [y + axes.patches[0].get_height() / 2 for y in tops]
    assert axes.get_yticks().tolist() == pytest.approx(middles)


def test_the_grid_counts_the_maps_that_differ():
    keys = some(4, 3, 2)
    keys[3] = keys[0]
    alt = figures.head_grid({"K": keys, "V": keys[:1].expand(4, 3, 2)}, 8, "A title").alt
    assert "each of heads 0–1, 2–3, 4–5, 6–7." in alt
    assert "K: 3 different maps; V: 1 different map." in alt


def test_a_scale_may_be_given_and_is_written_at_its_bar():
    panels, n, title = grid("mini")
    figure = figures.head_grid(panels, n, title, {"V": 7.25})
    keys, values, _, bar = figure.axes
    assert values.images[0].get_clim() == (-7.25, 7.25)
    assert keys.images[0].get_clim()[1] == panels["K after RoPE"].abs().max()
    assert words(bar.get_xticklabels()) == ["−7.2", "0", "7.2"]


def test_a_model_of_zeros_can_be_drawn():
    figure = figures.head_grid({"K": torch.zeros(1, 2, 2)}, 1, "A title")
    assert figures.png(figure) and words(figure.axes[0].get_yticklabels()) == ["head 0"]


@every_model
def test_likeness_frames_the_groups_and_says_how_alike_they_are(model):
    matrices, g, title = alike(model)
    figure, n = figures.likeness(matrices, g, title), MODELS[model][0]
    r, group = n // g, torch.arange(n) // (n // g)
    for axes, (name, matrix) in zip(figure.axes, matrices.items(), strict=False):
        torch.testing.assert_close(picture(axes), matrix, rtol=0, atol=0)
        assert axes.images[0].get_clim() == (-1, 1)
        assert [(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in axes.patches] == [
            (j * r - 0.5, j * r - 0.5, r, r) for j in range(g)
        ]
        ticks = axes.get_xticks().tolist()
        assert len(ticks) <= 8 and ticks == axes.get_yticks().tolist()
        assert g == 1 or all(x % r == 0 for x in ticks)
        outside = matrix[group[:, None] != group]
        said = f"{name}: {g} frame{'s' * (g > 1)} of {r} × {r} on the diagonal"
        said += "; inside the frames 1.00 to 1.00" * (r > 1)
        if g > 1:
            said += f"{',' if r > 1 else ';'} outside {outside.min():.2f} to {outside.max():.2f}"
        assert said.replace("-", "−") in figure.alt.replace("-", "−")


def test_matrices_of_two_models_may_stand_side_by_side():
    figure = figures.likeness({"a": torch.eye(6), "b": torch.eye(4)}, {"a": 3, "b": 1}, "A title")
    assert [len(axes.patches) for axes in figure.axes[:2]] == [3, 1]


@pytest.mark.parametrize("r", range(1, 9))
def test_a_head_has_its_map_hatched_where_it_may_not_look(r):
    weights, heads = looking(r), list(range(8, 8 + r))
    figure = figures.group_maps(weights, WORDS, "A title", heads)
    shown = [axes for axes in figure.axes[:-1] if axes.get_visible()]  # the last is the bar
    assert len(shown) == r
    for axes, i, values in zip(shown, heads, weights, strict=True):
        drawn = picture(axes)
        assert torch.equal(drawn.isnan(), values == 0)
        assert torch.equal(drawn.nan_to_num(0), values)
        assert axes.images[0].get_clim() == (0, 1)
        (behind,) = axes.patches
        assert behind.get_hatch() and behind.get_zorder() < axes.images[0].get_zorder()
        assert behind.get_bbox().bounds == (-0.5, -0.5, 12, 12)
        assert axes.get_title(loc="left") == f"query head {i}"
        most = WORDS[values[-1].argmax()]
        assert f"Query head {i}: a looks most at {most}." in figure.alt
        numbers = {t.get_position(): t.get_text() for t in axes.texts}
        expected = {
            (x, y): f"{values[y, x]:.2f}".removeprefix("0") for y in range(12) for x in range(y + 1)
        }
        assert numbers == (expected if r == 1 else {})
    rows = {axes.get_subplotspec().rowspan.start for axes in shown}
    assert rows == ({0} if r <= 4 else {0, 1})
    assert words(shown[0].get_yticklabels())[:2] == ["<|begin_o…", "one"]


@pytest.mark.parametrize("pairs", [(), ((1, 8),), ((1, 8), (2, 9))])
def test_rows_of_one_word_are_joined_with_their_largest_difference(pairs):
    panels, tokens, title, top, _ = rows()
    figure = figures.token_rows(panels, tokens, title, top, pairs)
    for axes, (name, x) in zip(figure.axes, panels.items(), strict=False):
        torch.testing.assert_close(picture(axes), x, rtol=0, atol=0)
        assert axes.images[0].get_clim() == (-3, 3)
        assert axes.get_title(loc="left") == name
        framed = [p.get_y() + 0.5 for p in axes.patches]
        assert framed == [row for pair in pairs for row in pair]
        gaps = [f"{float(f'{(x[i] - x[j]).abs().max():.2g}'):g}" for i, j in pairs]
        assert [t.strip() for t in words(axes.texts)] == gaps
        assert [t.get_position()[1] for t in axes.texts] == [j for _, j in pairs]
        assert [line.get_ydata().tolist() for line in axes.lines[::2]] == [
            [i, i, j, j] for i, j in pairs
        ]
        for (i, j), gap in zip(pairs, gaps, strict=True):
            assert f"{name}, “{tokens[i]}” at {i} and at {j}: {gap}" in figure.alt
    assert "K before RoPE, “one” at 1 and at 8: 0;" in figure.alt or not pairs
    assert words(figure.axes[0].get_yticklabels()) == ["<|begin_o…", *WORDS[1:]]


def test_panels_may_have_scales_of_their_own():
    panels, tokens, title, *_ = rows()
    tops = dict(zip(panels, (4.0, 4.0, 0.5), strict=True))
    axes = figures.token_rows(panels, tokens, title, tops).axes
    assert [x.images[0].get_clim()[1] for x in axes[:3]] == [4, 4, 0.5]
    assert [words(x.get_xticklabels())[2] for x in axes[3:]] == ["4", "4", "0.5"]


@pytest.mark.parametrize("layers, last", [(32, False), (32, True), (4, True)])
def test_a_file_is_drawn_to_scale_with_what_was_read(layers, last):
    sizes, read, title = checkpoint(layers, last)
    (axes,) = figures.byte_map(sizes, read, title).axes
    starts = dict(zip(sizes, itertools.accumulate(sizes.values(), initial=0), strict=False))
    total = sum(sizes.values())
    edges = [ends[0, 0] for ends in axes.collections[0].get_segments()]
    assert edges == [*starts.values(), total]
    strip, *parts = axes.patches
    assert (strip.get_x(), strip.get_width()) == (0, total)
    drawn = {p.get_x(): (p.get_width(), to_hex(p.get_facecolor()), p.get_hatch()) for p in parts}
    assert {x: width for x, (width, *_) in drawn.items()} == {starts[k]: n for k, n in read.items()}
    hues = {"k_proj": figures.KEY, "v_proj": figures.VALUE}
    assert {x: hue for x, (_, hue, _) in drawn.items()} == {
        starts[k]: hues.get(k.split(".")[-1], "#666666").lower() for k in read
    }
    looks = {(hue, hatch) for _, hue, hatch in drawn.values()}
    assert len(looks) == len({hatch for _, hatch in looks}) == 3  # told apart without colour
    leaders = axes.lines[::2]
    assert sorted(line.get_xdata()[0] for line in leaders) == [
        starts[k] + n / 2 for k, n in read.items()
    ]
    ends = sorted((line.get_xdata()[0], line.get_xdata()[-1]) for line in leaders)
    assert [x for _, x in ends] == sorted(x for _, x in ends)  # no two cross


@pytest.mark.parametrize(
    "sizes, read, said",
    [
        ({"a": 1000, "k_proj": 999}, {"k_proj": 999}, "999 B of 2.0 kB: 1 of 2.0"),
        ({"a": 2_000_000, "b": 500}, {"a": 1000}, "1.0 kB of 2.0 MB: 1 of 2,000"),
        ({"a": 16_060_522_496}, {"a": 16_883_712}, "16.9 MB of 16,061 MB: 1 of 951"),
        ({"a": 7}, {"a": 7}, "7 B of 7 B: all of it"),
    ],
)
def test_the_share_that_was_read_is_said(sizes, read, said):
    figure = figures.byte_map(sizes, read, "A title")
    assert figure.axes[0].get_title(loc="left") == f"A title\n{said}"
    assert f"Read: {said}." in figure.alt


def test_a_part_of_a_tensor_is_said_to_be_one():
    figure = figures.byte_map({"embed": 5000, "k_proj": 20}, {"k_proj": 20, "embed": 10}, "A title")
    assert words(figure.axes[0].texts) == ["k_proj: 20 B", "embed: 10 B of 5.0 kB"]
    assert "embed: 10 B of 5.0 kB; k_proj: 20 B." in figure.alt


FLIPBOOKS = {
    "head_grid": [
        ({name: some(8, 12, 16, seed=i) * 10**i, "V": some(8, 12, 16)}, 32, f"Layer {i}",
         {name: 100.0, "V": 5.0})
        for i, name in enumerate(("K before RoPE", "K after RoPE", "K"))
    ],
    "likeness": [({"K": similarity(some(32, 5, seed=i) * i)}, 8, f"Layer {i}") for i in range(3)],
    "group_maps": [
        (looking(4, seed=j), WORDS, f"Group {j}", [*range(4 * j, 4 * j + 4)]) for j in (0, 3, 7)
    ],
    "token_rows": [
        ({name: some(12, 16, seed=i) * 10.0**-i}, WORDS, name, 3.0, ((1, 8),))
        for i, name in enumerate(("K before RoPE", "K after RoPE", "V"))
    ],
    "byte_map": [
        (checkpoint(4)[0], {f"layers.{i}.k_proj": 8_388_608}, f"Layer {i}") for i in range(4)
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", FLIPBOOKS)
def test_only_what_changes_moves(name):
    assert_only_what_changes_moves([getattr(figures, name)(*x) for x in FLIPBOOKS[name]])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_tensors_may_have_the_dtype_of_a_checkpoint(dtype):
    keys = some(2, 12, 4).to(dtype).requires_grad_()
    drawn = [
        figures.head_grid({"K": keys}, 4, "A title"),
        figures.likeness({"K": similarity(keys)}, 2, "A title"),
        figures.group_maps(looking(2).to(dtype), WORDS, "A title", [0, 1]),
        figures.token_rows({"K": keys[0]}, WORDS, "A title", 3.0, [(1, 8)]),
    ]
    assert torch.equal(picture(drawn[3].axes[0]), keys[0].detach().float())
    assert all(figure.alt for figure in drawn)


@pytest.mark.parametrize(
    "draw, text",
    [
        (lambda: figures.head_grid({"K": some(5, 2, 2)}, 32, "x"),
         "n_heads (32) must be divisible by n_kv_heads (5); try one of 1, 2, 4, 8, 16, 32"),
        (lambda: figures.head_grid({"K": some(4, 2, 2), "V": some(4, 3, 2)}, 8, "x"),
         "V has shape (4, 3, 2); it must be (g, s, h), as K has with (4, 2, 2)"),
        (lambda: figures.head_grid({"K": some(1, 4, 2, 2)}, 8, "x"),
         "K has shape (1, 4, 2, 2); it must be (g, s, h): take one sequence of a batch with K[0]"),
        (lambda: figures.likeness({"K": some(4, 3)}, 2, "x"), "K has shape (4, 3); it must be (n, n)"),
        (lambda: figures.likeness({"K": some(4, 4)}, 3, "x"),
         "n_heads (4) must be divisible by n_kv_heads (3); try one of 1, 2, 4"),
        (lambda: figures.group_maps(looking(4), WORDS, "x", [0, 1, 2]),
         "weights (4, 12, 12) must be (r, t, s) for the 3 heads, at most 8, and the 12 tokens"),
        (lambda: figures.group_maps(looking(4), WORDS[1:], "x", [0, 1, 2, 3]),
         "weights (4, 12, 12) must be (r, t, s) for the 4 heads, at most 8, and the 11 tokens"),
        (lambda: figures.group_maps(looking(9), WORDS, "x", [*range(9)]),
         "weights (9, 12, 12) must be (r, t, s) for the 9 heads, at most 8, and the 12 tokens"),
        (lambda: figures.token_rows({"K": some(11, 4)}, WORDS, "x", 1),
         "K has shape (11, 4); it must be (s, h) for the 12 tokens"),
        (lambda: figures.token_rows({"K": some(1, 12, 4)}, WORDS, "x", 1),
         "K has shape (1, 12, 4); it must be (s, h) for the 12 tokens"),
        (lambda: figures.byte_map({"k": 8}, {"k": 9}, "x"), "read 9 bytes of k; the file has 8 of it"),
        (lambda: figures.byte_map({"k": 8}, {"q": 1}, "x"), "read 1 bytes of q; the file has 0 of it"),
        (lambda: figures.byte_map({"k": 8}, {}, "x"),
         "read is empty; give the bytes that were read of one tensor or more"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(draw, text):
    with pytest.raises(ValueError) as error:
        draw()
    assert str(error.value) == text
