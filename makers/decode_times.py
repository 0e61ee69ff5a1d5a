"""What a decode step costs on this machine, in every form: data/results/decode_<hardware>.csv.

python -m makers.decode_times    (make bench)
"""

import os
import platform
import re
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from course_utils import data_path
from course_utils.experiments.decode_times import (
    FORMS,
    REPEATED,
    bandwidth,
    decode_bytes,
    decode_flop,
    peak,
    time_call,
    time_forms,
)
from course_utils.kv_cache import KVCache


def time_append(n_kv_heads, head_dim, n_tokens, dtype=torch.float32, repeats=99):
    """Milliseconds to append one token to a `KVCache` that holds n_tokens: quartiles."""
    cache = KVCache(1, n_kv_heads, n_tokens + repeats, head_dim, dtype)
    new = torch.ones(1, n_kv_heads, 1, head_dim, dtype=dtype)
    cache.n_tokens = n_tokens
    return time_call(cache.append, new, new, repeats=repeats)


def hardware():
    """The name of this machine's processor, as its system gives it, and its cores."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else []
    return f"{(names or [platform.processor() or platform.machine()])[0]}, {os.cpu_count()} cores"


def main():
    """Time every form for every g, context and dtype on one thread; print and write the table."""
    torch.set_num_threads(1)
    n, h, machine, rows, byte_rate = 32, 128, hardware(), [], bandwidth()
    peaks = {dtype: peak(dtype) for dtype in (torch.float32, torch.bfloat16)}
    print(f"{machine}, one thread: reads {byte_rate / 1e9:.1f} GB/s")
    for dtype, flop_rate in peaks.items():
        print(f"{dtype}: computes {flop_rate / 1e9:.0f} Gflop/s")
    cells = product(peaks, (1024, 4096, 16384), (32, 16, 8, 4, 2, 1))
    for dtype, s, g in tqdm(list(cells)):
        times = time_forms(FORMS, n, g, h, s, dtype)
        times |= time_forms(REPEATED, n, g, h, s, dtype)
        times["KVCache.append"] = time_append(g, h, s, dtype)
        for form, (low, median, high) in times.items():
            rows.append(
                {
                    "hardware": machine,
                    "torch": torch.__version__,
                    "dtype": str(dtype).removeprefix("torch."),
                    "n_heads": n,
                    "n_kv_heads": g,
                    "head_dim": h,
                    "n_tokens": s,
                    "form": form,
                    "low_ms": low,
                    "median_ms": median,
                    "high_ms": high,
                    "bytes_ms": 1000 * decode_bytes(g, h, s, dtype.itemsize) / byte_rate,
                    "flop_ms": 1000 * decode_flop(n, h, s) / peaks[dtype],
                }
            )
    table = pd.DataFrame(rows)
    name = re.sub(r"[^a-z0-9]+", "-", machine.lower())
    table.to_csv(data_path("results") / f"decode_{name}.csv", index=False, float_format="%.4f")
    table["roof"] = table[["bytes_ms", "flop_ms"]].max(axis=1)
    medians = table.pivot_table(
        "median_ms", ["dtype", "n_tokens", "n_kv_heads", "roof"], "form", sort=False
    )
    print(medians.round(3).to_string())


if __name__ == "__main__":
    main()
