"""The rungs: each passes where its stub stands, in words that were said, as the library would."""

import ast
import builtins
import inspect
import itertools
import random
import re

import pytest
import torch
from IPython.core.inputtransformer2 import TransformerManager
from lessons import PATHS, read
from safetensors.torch import save

from course_utils import attention as library
from course_utils import checks, ladder
from course_utils.checks import lesson_08
from course_utils.checks.engine import examine, exercises, find, rung, source
from course_utils.geometry import Geometry
from course_utils.kv_cache import KVCache
from course_utils.latent import MultiHeadLatentAttention
from course_utils.rope import frequencies, rotate


def is_part(name):
    """Whether the library has no function for it, but a layer that does it among other things."""
    return find(name).reference is rung(name)


every_exercise = pytest.mark.parametrize("name", exercises())
COUNTED = [x for x in lesson_08.CONFIGS if not lesson_08.is_refused(x)]
CELLS = [(path.stem[:2], cell) for path in PATHS for cell in read(path).cells]


def test_the_rungs_are_those_of_the_exercises_in_the_order_of_the_lessons():
    own = [x.__name__ for x in vars(ladder).values() if inspect.getmodule(x) is ladder]
    assert own == [name.partition(".")[2] for name in exercises()]


@every_exercise
def test_a_rung_passes_and_is_not_blamed(name):
    result = examine(find(name), rung(name))
    assert result.passed and " But " not in result.message, result.message


@every_exercise
def test_a_solution_fits_on_a_screen_and_ends_with_the_way_to_the_library(name, capsys):
    checks.solution(name)
    shown = capsys.readouterr().out.strip()
    assert shown == source(name) and shown.startswith(inspect.getsource(rung(name)))
    *lines, told, use = shown.splitlines()
    assert len(lines) <= 35 and max(map(len, shown.splitlines())) <= 100
    assert re.fullmatch(r"# The library's own (also |refuses |suggests ).*:", told)
    namespace = {}
    exec(use.removeprefix("# "), namespace)
    assert (find(name).layer or find(name).reference) in namespace.values()


@pytest.mark.parametrize(
    "title, fn",
    [("Compare with the solution", library.attention), ("Solution", lambda q, k, v: ...)],
)
def test_the_card_shows_the_rung(title, fn, monkeypatch):
    shown = []
    monkeypatch.setattr("course_utils.checks.engine.display", lambda x, raw: shown.append(x))
    checks.check("05.multi_query_attention", fn)
    _, page = shown[0]["text/html"].split(f">{title}</summary>")
    assert "rows = q.reshape(b, 1, n * t, h)" in page and "check_shapes" not in page
    assert "# from course_utils.attention import attention" in page


# Of its own level: nothing is at hand, and nothing is named, that comes later


def exercise_of(cell):
    """The name of the exercise whose stub is in a cell, or None."""
    tags = [x for x in cell.metadata.get("tags", []) if x.startswith("exercise:")]
    return tags[0].removeprefix("exercise:") if tags else None


def up_to(name):
    """All cells of the course up to the one with this exercise, each with its lesson."""
    (last,) = (i for i, (_, cell) in enumerate(CELLS) if exercise_of(cell) == name)
    return CELLS[: last + 1]


def at_hand(cell):
    """The imports of a cell, and the names it sets to what is written out, as code."""
    is_code = cell.cell_type == "code"
    plain = TransformerManager().transform_cell(cell.source) if is_code else ""  # without !pip
    return "\n".join(ast.unparse(x) for x in ast.parse(plain).body if is_import(x) or is_table(x))


def is_import(node):
    return isinstance(node, ast.Import | ast.ImportFrom)


def is_table(node):
    """Whether a line sets a name to what is written out: NAMES = {"a", "b"}."""
    if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
        return False
    containers = ast.Tuple | ast.List | ast.Set | ast.Dict
    parts = ast.walk(node.value)
    return all(isinstance(x, ast.Constant | containers | ast.expr_context) for x in parts)


@every_exercise
def test_a_rung_passes_where_its_stub_stands(name):
    """What is at hand there: the lesson's imports and constants, and its earlier exercises."""
    namespace = {}
    for lesson, cell in up_to(name):
        if lesson == name[:2]:
            exec(at_hand(cell), namespace)
            if exercise := exercise_of(cell):
                exec(inspect.getsource(rung(exercise)), namespace)
    assert examine(find(name), namespace[rung(name).__name__]).passed


def names_in(fn):
    """All variables, attributes and arguments in the source of fn."""
    nodes = list(ast.walk(ast.parse(inspect.getsource(fn))))
    return {getattr(x, field, None) for x in nodes for field in ("id", "attr", "arg")} - {None}


def unsaid(name, fn):
    """What fn names that neither the lessons said up to an exercise, nor its hints, nor rungs."""
    text = "\n".join([*(cell.source for _, cell in up_to(name)), *find(name).hints])
    earlier = (rung(x) for x in itertools.takewhile(lambda x: x != name, exercises()))
    said = set(re.findall(r"\w+", text)).union(vars(builtins), *map(names_in, earlier))
    return names_in(fn) - said


@every_exercise
def test_a_rung_names_nothing_that_was_not_said_before(name):
    assert not unsaid(name, rung(name))


@pytest.mark.parametrize(
    "name, later",
    [
        ("01.attention", {"mask", "grouped", "check_shapes"}),
        ("05.multi_query_attention", {"check_shapes"}),
    ],
)
def test_the_library_names_what_comes_later(name, later):
    assert unsaid(name, find(name).reference) >= later


def test_attention_of_lesson_05_knows_no_groups():
    assert not names_in(rung("05.multi_query_attention")) & {"g", "r"}


# Against the library's general form, in float64, at sizes that are all different


def draw(*shape):
    return torch.randn(shape, dtype=torch.float64)


def step(fn, q, k, v, past):
    b, n, t, h = q.shape
    cache = KVCache(b, n, past + t, h, dtype=torch.float64)
    cache.append(*draw(2, b, n, past, h))
    return fn(q, k, v, cache), cache.k, cache.v


def layer(cls, n, g, x, past):
    b, s, d = x.shape
    made = cls(d, n, g).double()
    cache = KVCache(b, g, s, d // n, dtype=torch.float64)
    pieces = [made(piece, cache) for piece in x.split([past, s - past], dim=1)]
    return made(x), pieces, cache.k, cache.v


PLAY = {"04.decode_step": step, "06.GroupedQueryAttention": layer}


def given(b, g, n, t, s, h, d):
    """What each exercise is given at these sizes, drawn when it is called."""

    def attending(n_kv_heads):
        return lambda: (draw(b, n, t, h), *draw(2, b, n_kv_heads, s, h))

    model = Geometry("mine", d, n, g, h, d_model=n, max_context=s)

    return {
        "00.group_size": lambda: (n, g),
        "01.attention": attending(n),
        "02.causal_mask": lambda: (t, s),
        "02.causal_attention": attending(n),
        "03.split_heads": lambda: (draw(b, t, n * h), n),
        "03.merge_heads": lambda: (draw(b, n, t, h),),
        "03.multi_head_attention": lambda: (
            draw(b, t, d),
            *draw(3, d, n * h),
            draw(n * h, d),
            n,
        ),
        "04.decode_step": lambda: (*draw(3, b, n, t, h), s),
        "04.kv_cache_bytes": lambda: (d, b, g, h, s, t),
        "05.multi_query_attention": attending(1),
        "06.grouped_query_attention": attending(g),
        "06.GroupedQueryAttention": lambda: (n, g, draw(b, s, n * h), t),
        "07.mean_pool_kv": lambda: (draw(n * h, d), n, g),
        "08.byte_range": lambda: (save({"x": draw(b, s), "y": draw(t, h)}), "xy"[d % 2]),
        "08.kv_heads": lambda: (COUNTED[d % len(COUNTED)],),
        "09.step_time": lambda: (s * 10**9, d * 10**12, n, h),
        "09.tokens_per_second": lambda: (model, d * 10**6, b, s * 10**3, g, n / 1000, t),
        "11.quantize": lambda: (draw(b, g, s, h), 2 + d % 7),
    }


@pytest.mark.parametrize("name", [x for x in exercises() if not is_part(x)])
def test_a_rung_gives_what_the_library_gives(name):
    play = PLAY.get(name, lambda fn, *given: fn(*given))
    for seed in range(100):
        b, g, t, s, h, d, r = random.Random(seed).sample(range(1, 9), 7)
        torch.manual_seed(seed)
        asked = given(b, g, g * r, min(t, s), max(t, s), h, d)[name]()
        got = []
        for fn in (rung(name), find(name).reference):
            torch.manual_seed(seed)  # of the weights of a layer, and what is in a cache
            got.append(play(fn, *asked))
        torch.testing.assert_close(*got, rtol=0, atol=1e-12)


def test_the_rungs_of_lesson_10_give_together_what_the_layer_gives():
    for seed in range(100):
        b, n, past, t, h, r, c, v, d = random.Random(seed).sample(range(1, 12), 9)
        torch.manual_seed(seed)
        layer = MultiHeadLatentAttention(d, n, h, c, 2 * r, value_dim=v).double()
        for weight in layer.parameters():
            torch.nn.init.normal_(weight)
        x, rope = draw(b, past + t, d), lambda x, start: rotate(x, start, frequencies(x.shape[-1]))
        w_down, gain = layer.kv_a_proj_with_mqa.weight, layer.kv_a_layernorm.weight
        w_up = layer.kv_b_proj.weight
        cached, keys, values = zip(
            *(
                ladder.latent_kv(piece, w_down, gain, w_up, n, h, rope, start)
                for piece, start in [(x[:, :past], 0), (x[:, past:], past)]
            ),
            strict=True,
        )
        cached, keys, values = torch.cat(cached, 1), torch.cat(keys, 2), torch.cat(values, 2)
        q = library.split_heads(layer.q_proj(x), n)
        scores = ladder.absorbed_scores(q[:, :, past:], cached, w_up, rope)
        output, weights = layer.expanded(x, rope=rope)
        torch.testing.assert_close(scores.softmax(-1), weights[:, :, past:], rtol=0, atol=1e-9)
        turned = torch.cat([q[..., :h], rope(q[..., h:], 0)], dim=-1)
        heads, _ = library.causal_attention(turned, keys, values)
        merged = layer.o_proj(library.merge_heads(heads))
        torch.testing.assert_close(merged, output, rtol=0, atol=1e-9)
