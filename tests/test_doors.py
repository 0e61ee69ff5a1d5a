"""The little language, its tokenizer, and the three decoders that learnt it."""

import csv
import json
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from course_utils import SENTENCE, checkpoints, data_path, decoder
from course_utils.experiments import verses
from makers import doors

FOLDERS = {g: data_path("checkpoints", "doors", f"doors-g{g}") for g in doors.MODELS}
every_model = pytest.mark.parametrize("g", doors.MODELS)


def log():
    with data_path("results", "doors.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def opened(g):
    return checkpoints.open_checkpoint(FOLDERS[g])


def test_a_verse_is_told_twice_and_its_verbs_agree():
    rng = random.Random(0)
    for _ in range(300):
        words = verses.verse(rng)
        half = len(words) // 2
        assert words[:half] == words[half:] and words[half - 1] == "."
        for i, word in enumerate(words):
            if word in verses.DOES + verses.DO:
                subject = words[i - 1]
                assert (word in verses.DOES) == (subject in verses.THINGS + verses.PEOPLE)


def test_our_sentence_and_every_word_of_the_language_are_tokens():
    tokenizer = doors.tokenizer()
    rng = random.Random(1)
    for words in [SENTENCE.split(), *(verses.verse(rng) for _ in range(50))]:
        assert tokenizer.encode(" ".join(words)).tokens == ["<s>", *words]
    assert tokenizer.encode("one zebra").tokens == ["<s>", "one", "<unk>"]
    assert len(set(verses.WORDS)) == len(verses.WORDS)


def test_texts_have_the_ids_that_the_tokenizer_gives():
    rows = verses.texts(random.Random(2), size=3)
    assert rows.shape == (3, 1 + verses.N_TOKENS)
    tokenizer = doors.tokenizer()
    for row in rows.tolist():
        assert tokenizer.encode(tokenizer.decode(row[1:])).ids == row


def test_training_is_the_same_every_time_and_lowers_the_loss(one_thread, monkeypatch):
    monkeypatch.setattr(doors, "BATCH", 6)
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        model, losses = decoder.Decoder(doors.config(8)), []
        doors.train(model, steps=8, seed=3, watch=lambda step, loss, to=losses: to.append(loss))
        runs.append(losses)
    assert runs[0] == runs[1]
    assert runs[0][-1] < runs[0][0] - 0.5


@every_model
def test_the_files_are_what_the_hub_has(g):
    config = json.loads((FOLDERS[g] / "config.json").read_text())
    assert config == doors.config(g)
    assert sum(path.stat().st_size for path in FOLDERS[g].iterdir()) < 8_000_000
    assert opened(g).geometry.kind == {32: "MHA", 8: "GQA", 1: "MQA"}[g]
    saved = (FOLDERS[g] / "tokenizer.json").read_text(encoding="utf-8")
    assert json.loads(saved) == json.loads(doors.tokenizer().to_str())


@every_model
def test_it_has_learnt_what_its_log_says(g):
    (last,) = [r for r in log() if r["n_kv_heads"] == str(g) and r["step"] == str(doors.STEPS)]
    agrees, copies = doors.evaluate(checkpoints.load(opened(g)))
    assert agrees == pytest.approx(float(last["agrees"]), abs=0.01)  # bfloat16 rounded it
    assert copies == pytest.approx(float(last["copies"]), abs=0.01)
    assert agrees > 0.99 and copies > 0.95


@every_model
@torch.no_grad()
def test_transformers_loads_it_and_gives_the_same(g):
    theirs = AutoModelForCausalLM.from_pretrained(FOLDERS[g], dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(FOLDERS[g] / "tokenizer.json"))
    ids = torch.tensor([tokenizer(f"{SENTENCE} . one key").input_ids])
    ours = checkpoints.load(opened(g))
    torch.testing.assert_close(ours(ids)[0], theirs(ids).logits, rtol=1e-4, atol=1e-3)
    expected = theirs.generate(ids, max_new_tokens=9, do_sample=False)
    assert decoder.greedy(ours, ids, n_new=9).equal(expected)
    assert tokenizer.decode(expected[0, -9:]) == SENTENCE.removeprefix("one key ")


def test_the_log_has_a_row_every_fifty_steps_of_each_model():
    steps = [(r["n_kv_heads"], r["step"]) for r in log()]
    assert steps == [(str(g), str(s)) for g in doors.MODELS for s in range(50, doors.STEPS + 1, 50)]
