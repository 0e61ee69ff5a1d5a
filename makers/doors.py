"""Three decoders that learn the small language of `verses`: g = 8, 32 and 1.

python -m makers.doors    makes the models, and data/results/doors.csv
"""

import csv
import random
import sys

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from course_utils import data_path
from course_utils.checkpoints import save
from course_utils.decoder import Decoder
from course_utils.experiments.recall import schedule
from course_utils.experiments.verses import DO, DOES, IDS, texts, verse

BATCH, STEPS, SEED = 48, 600, 0
MODELS = 8, 32, 1  # K/V heads


def tokenizer():
    """A word is a token, and <s> stands before a text; what is no word of ours is <unk>.

    >>> tokenizer().encode("one key opens").tokens
    ['<s>', 'one', 'key', 'opens']
    """
    made = Tokenizer(models.WordLevel(IDS, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return made


def config(n_kv_heads):
    """config.json: Llama 3 8B's attention in miniature, 32 query heads."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(IDS),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 32,
        "num_key_value_heads": n_kv_heads,
        "head_dim": 16,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 100.0,  # few tokens and narrow heads: the slowest pair must turn, too
        "max_position_embeddings": 128,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": None,
        "torch_dtype": "bfloat16",
    }


def train(model, steps, seed, watch=None):
    """Train the model in place; watch(step, loss) is called after each step, 1 to steps."""
    rng, optimizer = random.Random(seed), torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = 3e-3 * schedule(step, steps)
        ids = texts(rng, BATCH)
        logits, _ = model(ids[:, :-1])
        loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if watch:
            watch(step, loss.item())


@torch.no_grad()
def evaluate(model):
    """What a model has learnt, on 500 other verses: shares, 0 to 1, as (agrees, copies).

    agrees: a verb in its right form is likelier than in its wrong one. copies: how many words of
    the second telling are foretold.
    """
    other = {IDS[a]: IDS[b] for a, b in zip([*DOES, *DO], [*DO, *DOES], strict=True)}
    rng, agrees, copies = random.Random(10_000), [], []
    for _ in range(500):
        row = torch.tensor([1, *(IDS[word] for word in verse(rng))])
        logits, half = model(row[None, :-1])[0][0], len(row) // 2
        for i in range(half):
            if (verb := row[i + 1].item()) in other:
                agrees.append(logits[i, verb] > logits[i, other[verb]])
        copies += (logits.argmax(dim=-1)[half:] == row[half + 1 :]).tolist()
    return sum(agrees).item() / len(agrees), sum(copies) / len(copies)


def make(n_kv_heads):
    """Train a model, store it as the Hub would have it, and return the log of its training."""
    torch.manual_seed(SEED)
    model, rows = Decoder(config(n_kv_heads)), []

    def watch(step, loss):
        bar.update()
        if step % 50 == 0:
            agrees, copies = (f"{x:.4f}" for x in evaluate(model))
            rows.append([n_kv_heads, step, f"{loss:.4f}", agrees, copies])

    with tqdm(total=STEPS, desc=f"g = {n_kv_heads}", file=sys.stdout) as bar:
        train(model, STEPS, SEED, watch)
    folder = data_path("checkpoints", "doors") / f"doors-g{n_kv_heads}"
    save(model, folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return rows


def main():
    """Make the three models, and data/results/doors.csv."""
    torch.set_num_threads(1)
    with (data_path("results") / "doors.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["n_kv_heads", "step", "loss", "agrees", "copies"])
        for n_kv_heads in MODELS:
            table.writerows(make(n_kv_heads))


if __name__ == "__main__":
    main()
