"""What a token costs on this machine, measured: data/results/*_<hardware>.csv.

python -m makers.decode_times    (make bench)

On one thread of the CPU two tables, on a GPU, where torch can use one, four:

decode   a step of one layer's attention in every form
parts    of `decode_attention`, each on its own; on the CPU
prefill  a whole prompt's attention in one layer; on the GPU
steps    whole steps of a decoder, for more and more users; on the GPU
latent   a step of one layer with MLA, and with what it replaces; on the GPU

A row's `run` says how it was called: "calls", one by one from Python, or "graph", a CUDA graph in
which they follow each other without Python. b batch, n query heads, g key/value heads, h head_dim,
s tokens.
"""

import os
import platform
import re
from functools import partial
from itertools import product
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from course_utils import attention as library
from course_utils import data_path
from course_utils.attention import causal_mask
from course_utils.decoder import Decoder
from course_utils.experiments.decode_times import (
    FORMS,
    REPEATED,
    absorbed,
    as_rows,
    bandwidth,
    cold_caches,
    enable_gqa,
    expanded,
    gqa_kernels,
    parts,
    peak,
    prefill,
    time_call,
    time_forms,
)
from course_utils.kv_cache import KVCache

DTYPES = torch.float32, torch.bfloat16
N, H, EVERY_G = 32, 128, (32, 16, 8, 4, 2, 1)
LLAMA = {  # 3 8B's sizes; its numbers are drawn at random
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "head_dim": 128, "vocab_size": 128_256,
}  # fmt: skip
HOLLOW = {"hidden_size": 64, "intermediate_size": 64, "head_dim": 8, "vocab_size": 64}


def pinned(kernel):
    """`enable_gqa` by one of PyTorch's kernels; of itself it takes the first that can."""

    def form(q, k, v):
        with sdpa_kernel(kernel):
            return enable_gqa(q, k, v)

    return form


ON_GPU = {name: form for name, form in FORMS.items() if name != "decode_attention"} | REPEATED
ON_GPU |= {
    "SDPA, enable_gqa, flash": pinned(SDPBackend.FLASH_ATTENTION),
    "SDPA, enable_gqa, cuDNN": pinned(SDPBackend.CUDNN_ATTENTION),
}


def flex(n_tokens, where):
    """FlexAttention over so many tokens, compiled anew: past 8 shapes it would run unfused.

    Of that there would be one warning and no error. Without a block mask it would not split a long
    text among a GPU's processors, and took 17 times as long.
    """
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    torch.compiler.reset()
    compiled = torch.compile(flex_attention, dynamic=False)
    all_of_it = create_block_mask(lambda b, n, t, s: s >= 0, None, None, 1, n_tokens, where)
    options = {"block_mask": all_of_it, "enable_gqa": True}
    return {"FlexAttention, compiled": lambda q, k, v: compiled(q, k, v, **options)}


def cold(shape, n_heads, dtype, most=64, n_new=1, width=None, kept=2):
    """Queries (b, n, n_new, width) and `cold_caches` of a shape (b, g, s, h); width None is h.

    The caches are together larger than what the card keeps near its processors.
    """
    b, *_, h = shape
    q = torch.ones(b, n_heads, n_new, width or h, dtype=dtype, device="cuda")
    return q, cold_caches(shape, dtype, "cuda", most, kept)


def time_graph(form, q, caches):
    """Milliseconds of a form in a CUDA graph, called on one cache after the other: quartiles."""
    replay = graph(lambda: [form(q, *cache) for cache in caches])
    return tuple(ms / len(caches) for ms in time_call(replay))


def graph(function):
    """The function's kernels as one CUDA graph, ready to be replayed."""
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(2):  # what is made ready at a first call must not be in the graph
            function()
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        function()
    captured.replay()
    return captured.replay


def lines(times, dtype, n_heads, n_kv_heads, n_tokens, batch=1, run="calls", head_dim=H, **more):
    """A table's lines of {form: quartiles}, without what is the same in all its lines."""
    for form, (low, median, high) in times.items():
        yield {
            "dtype": short(dtype), "n_heads": n_heads, "n_kv_heads": n_kv_heads,
            "head_dim": head_dim, "batch": batch, "n_tokens": n_tokens, "form": form, "run": run,
            "low_ms": low, "median_ms": median, "high_ms": high,
        } | more  # fmt: skip


def short(dtype):
    """float32, without its "torch."."""
    return str(dtype).removeprefix("torch.")


def cells(label, *axes):
    """Every choice of one value from each axis, with a bar that says how far we are."""
    return tqdm(list(product(*axes)), label)


def decode_lines_cpu():
    """Steps of one layer in every form; of one token too: what the call takes by itself."""
    for dtype, s, g in cells("forms", DTYPES, (1, 1024, 4096, 16384), EVERY_G):
        sizes = N, g, H, s, dtype
        times = time_forms(FORMS, *sizes) | time_forms(REPEATED, *sizes)
        if s == 4096:
            times |= time_forms(flex(s, "cpu"), *sizes)
        times["KVCache.append"] = time_append(g, H, s, dtype)
        yield from lines(times, dtype, N, g, s)


def time_append(n_kv_heads, head_dim, n_tokens, dtype=torch.float32, repeats=99):
    """Milliseconds to append one token to a `KVCache` that holds n_tokens: quartiles."""
    cache = KVCache(1, n_kv_heads, n_tokens + repeats, head_dim, dtype)
    new = torch.ones(1, n_kv_heads, 1, head_dim, dtype=dtype)
    cache.n_tokens = n_tokens
    return time_call(cache.append, new, new, repeats=repeats)


def decode_lines_gpu(dtype):
    """The same on a GPU, for one user and for 32, each form by calls and in a graph."""
    sizes = (1, 1), (1, 32768), (32, 4096), (32, 32768)
    for (b, s), g in cells("forms", sizes, EVERY_G):
        compiled = flex(s, "cuda") if (b, s) in ((1, 32768), (32, 4096)) else {}
        for form, function in (ON_GPU | compiled).items():
            try:
                if s > 1 and (g == 8 or "Flex" not in form):  # that is compiled anew for a shape
                    check(function, g, s, dtype)
                calls = time_forms({form: function}, N, g, H, s, dtype, "cuda", batch=b)
                shape = b, g, s, H
                kernel = longest_kernel(function, *cold(shape, N, dtype, most=1))
                yield from lines(calls, dtype, N, g, s, b, kernel=kernel)
                in_graph = {form: time_graph(function, *cold(shape, N, dtype))}
                yield from lines(in_graph, dtype, N, g, s, b, "graph", kernel=kernel)
            except RuntimeError as fault:  # it does not fit, or this kernel takes no such shape
                tell(f"{form}, g = {g}, b = {b}, s = {s:,}", fault)
            torch.cuda.empty_cache()


def check(form, g, s, dtype):
    """Raise RuntimeError if a form does not give what `attention` gives in float32."""
    torch.manual_seed(0)
    q = torch.randn(2, N, 1, H, dtype=dtype, device="cuda")
    k, v = torch.randn(2, 2, g, s, H, dtype=dtype, device="cuda")
    expected, _ = library.attention(q.float(), k.float(), v.float())
    error = ((form(q, k, v).float() - expected).norm() / expected.norm()).item()
    if not error < 0.01:
        raise RuntimeError(f"off by {error:.3f} of the result")


def longest_kernel(form, q, caches):
    """The name of the kernel that takes longest in one call."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        form(q, *caches[0])
        torch.cuda.synchronize()
    kernels = [x for x in profiled.events() if x.device_type == torch.autograd.DeviceType.CUDA]
    return max(kernels, key=lambda x: x.time_range.elapsed_us()).name[:120] if kernels else ""


def tell(what, fault):
    """Print what could not be timed, and the first line of why."""
    print(f"{what}: {str(fault).splitlines()[0]}")


def part_lines():
    """The parts of `decode_attention`."""
    for dtype, s, g in cells("parts", DTYPES, (1024, 4096, 16384), EVERY_G):
        q, k = (torch.ones(1, x, y, H, dtype=dtype) for x, y in ((N, 1), (g, s)))
        yield from lines(time_forms(parts(q, k, k), N, g, H, s, dtype), dtype, N, g, s)


def prefill_lines(dtype):
    """s queries at once, each sees what comes before it."""
    for s, g in cells("prefill", (8192, 32768), EVERY_G):
        q, k = (torch.randn(1, x, s, H, dtype=dtype, device="cuda") for x in (N, g))
        prefill(q, k, k)  # warms up
        yield from lines({"SDPA, enable_gqa": time_call(prefill, q, k, k)}, dtype, N, g, s)


def step_lines(dtype):
    """Whole steps of a decoder, for more and more users, up to what memory holds.

    "empty" is a decoder of as many layers and heads with next to nothing in them: what its calls
    take by themselves.
    """
    users = [(b, 8192) for b in (1, 2, 4, 8, 16, 32, 64, 128)]
    users += [(b, 1024) for b in (1, 4, 16, 64, 256)] + [(1, 32768), (1, 131072)]
    for g in (32, 8, 1):
        for form, of, at in (("empty", LLAMA | HOLLOW, [(1, 1)]), ("decoder", LLAMA, users)):
            model = None  # there is room for one
            model, n_weights = decoder(of, g, dtype)
            more = {"n_weights": n_weights, "n_layers": len(model.layers)}
            for b, s in tqdm(at, f"{form}, g = {g}"):
                compiled = s in (1, 8192) and b in (1, 8, 32, 64)
                for how in ("", ", compiled")[: 1 + compiled]:
                    for run, times in time_steps(model, b, s, how):
                        times = {form + how: times}
                        yield from lines(times, dtype, N, g, s, b, run, of["head_dim"], **more)


def latent_lines(dtype):
    """Steps of t new tokens in one layer with DeepSeek-V3's sizes: MLA, and what it replaces."""
    b, s, kv_rank, rope_dim = 32, 4096, 512, 64
    rows = {"shape": (b, 1, s, kv_rank + rope_dim), "kept": 1}
    for n, t in cells("latent", (16, 32, 64, 128), (1, 2)):
        mask = causal_mask(t, s).to(device="cuda") if t > 1 else None
        w_up = torch.randn(n * 2 * H, kv_rank, dtype=dtype, device="cuda") / kv_rank**0.5
        forms = [  # name, heads with keys in memory, function, what it is called on
            ("absorbed", 1, partial(absorbed, kv_rank=kv_rank), rows),
            ("absorbed, SDPA", 1, lambda q, c, mask: as_rows(q, c, c[..., :kv_rank], mask), rows),
            ("expanded", n, partial(expanded, w_up=w_up), rows | {"width": H + rope_dim}),
        ]
        for form, g in product(("SDPA, enable_gqa", "SDPA, groups as rows"), (n, 8, 1)):
            forms.append((form, g, FORMS[form], {"shape": (b, g, s, H)}))
        for form, g, function, given in forms:
            function = partial(function, mask=mask)
            made = partial(cold, n_heads=n, dtype=dtype, n_new=t, **given)
            more = {"n_new": t, "kv_rank": kv_rank if given.get("kept") else 0}
            try:
                kernel = longest_kernel(function, *made(most=1))
                in_graph = {form: time_graph(function, *made())}
                yield from lines(in_graph, dtype, n, g, s, b, "graph", kernel=kernel, **more)
            except RuntimeError as fault:  # it does not fit
                tell(f"{form}, n = {n}, g = {g}, t = {t}", fault)
            torch.cuda.empty_cache()


def decoder(sizes, n_kv_heads, dtype, where="cuda"):
    """A decoder of these sizes with random weights, and how many of them a step reads.

    It reads all of them but the table of words that come in, of which it needs one row.
    """
    config = {"model_type": "llama", "rms_norm_eps": 1e-5, "num_key_value_heads": n_kv_heads}
    standard = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(where):
            model = Decoder(config | sizes).requires_grad_(False)
    finally:
        torch.set_default_dtype(standard)
    model.ropes = [
        partial(rope.func, inv_freq=rope.keywords["inv_freq"].to(where)) for rope in model.ropes
    ]
    read = sum(x.numel() for x in model.parameters()) - model.embed_tokens.weight.numel()
    return model, read


def time_steps(model, batch, n_tokens, how):
    """Quartiles of a decoder's step, by calls and in a graph: [(run, times)], [] without room.

    how: ", compiled" or "". Attention is done by PyTorch's kernels.
    """
    torch.cuda.empty_cache()
    torch.compiler.reset()  # past its recompile limit it would run uncompiled
    for layer in model.layers:
        layer._compiled_call_impl = None
        if how:
            layer.compile(dynamic=False)
    try:
        with torch.no_grad(), patch.object(library, "causal_attention", fused):
            step = whole_step(model, batch, n_tokens)
            step()  # warms up
            calls = time_call(step, repeats=5)
            return [("calls", calls), ("graph", time_call(graph(step)))]
    except RuntimeError as fault:
        tell(f"b = {batch}, s = {n_tokens:,}{how}", fault)
        return []


def whole_step(model, batch, n_tokens):
    """A function that does the same step of a `Decoder` again and again, of b users.

    n_tokens: what each has in the cache once the new token is in.
    """
    ids = torch.zeros(batch, 1, dtype=torch.long, device=model.norm.weight.device)
    caches = model.caches(n_tokens, batch)
    for cache in caches:
        cache.k.fill_(0.1), cache.v.fill_(0.1)  # memory that nobody wrote to need not be read

    def step():
        for cache in caches:
            cache.n_tokens = n_tokens - 1
        return model(ids, caches)

    return step


def fused(q, k, v):
    """`causal_attention` of the newest token by PyTorch's kernels, which show no weights."""
    return enable_gqa(q, k, v), None


def hardware(where):
    """The name of the GPU, or of this machine's processor, its cores and what torch uses of it."""
    if where == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else []
    model = re.sub(r"\(\w+\)", "", (names or [platform.processor() or platform.machine()])[0])
    return f"{model}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"


def as_far_as_it_goes(what, rows):
    """The rows, until memory or a kernel refuses: of that the first line is printed."""
    try:
        yield from rows
    except RuntimeError as fault:
        tell(what, fault)


def main(where=None):
    """Time everything; print and write the tables."""
    where = where or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    half = torch.bfloat16
    if where == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        half = torch.float16
    machine, rate = hardware(where), bandwidth(where)
    peaks = {short(dtype): peak(dtype, where) for dtype in (torch.float32, half)}
    print(f"{machine}: reads {rate:.1f} GB/s; computes, Tflop/s:", peaks)
    if where == "cuda":
        q, k = (torch.ones(1, *x, H, dtype=half, device=where) for x in ((N, 1), (8, 64)))
        print("kernels that take grouped heads:", gqa_kernels(q, k, k))
        tables = {
            "decode": decode_lines_gpu(half),
            "steps": step_lines(half),
            "prefill": prefill_lines(half),
            "latent": latent_lines(half),
        }
    else:
        tables = {"parts": part_lines(), "decode": decode_lines_cpu()}
    file = re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-")
    for what, rows in tables.items():
        table = pd.DataFrame(as_far_as_it_goes(what, rows))
        table.insert(0, "hardware", machine)
        table.insert(1, "torch", torch.__version__)
        table["bandwidth_gb_s"] = rate
        table["peak_tflop_s"] = table["dtype"].map(peaks)
        table.to_csv(data_path("results") / f"{what}_{file}.csv", index=False, float_format="%.5g")
        print(table.to_string())


if __name__ == "__main__":
    main()
