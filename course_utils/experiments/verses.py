"""A small language about keys and doors: what the doors models of data/checkpoints have learnt.

A text is made by a grammar, so it holds no data of others: sentences whose verbs agree with their
subjects, each verse told twice. What was told once can be known by looking back.
"""

import torch

ONE, MANY = "one each every this".split(), "two three many few some all these".split()
THINGS = "key door lock room ring box wall lamp".split()
MORE = "keys doors locks rooms rings boxes walls lamps".split()
DOES = "opens needs fits finds keeps shows".split()
DO = "open need fit find keep show".split()
PEOPLE = "anna ben clara david emma felix greta hugo".split()
COLOURS = "red blue green golden silver black white brown".split()
WORDS = [*ONE, *MANY, *THINGS, *MORE, *DOES, *DO, *PEOPLE, *COLOURS, "and", "but", "."]
IDS = {word: i for i, word in enumerate(["<unk>", "<s>", *WORDS])}
N_TOKENS = 64


def noun(rng):
    """Some words for one thing or several, and whether it is one."""
    one, colour = rng.random() < 0.5, [rng.choice(COLOURS)] * (rng.random() < 0.3)
    words = [rng.choice(ONE if one else MANY), *colour, rng.choice(THINGS if one else MORE)]
    return words, one


def clause(rng):
    """Somebody or something does something to a thing: `one key opens many doors`."""
    subject, one = noun(rng) if rng.random() < 0.7 else ([rng.choice(PEOPLE)], True)
    return [*subject, rng.choice(DOES if one else DO), *noun(rng)[0]]


def verse(rng):
    """One sentence or two, told twice, as a list of words.

    >>> import random
    >>> " ".join(verse(random.Random(32)))
    'all keys open this box . all keys open this box .'
    """
    told = []
    for _ in range(rng.randint(1, 2)):
        more = [rng.choice(["and", "but"]), *clause(rng)] if rng.random() < 0.5 else []
        told += [*clause(rng), *more, "."]
    return told + told


def texts(rng, size):
    """Token ids of texts that each begin with a verse: (size, 1 + 64), <s> first."""
    rows = []
    for _ in range(size):
        words = []
        while len(words) < N_TOKENS:
            words += verse(rng)
        rows.append([1, *(IDS[word] for word in words[:N_TOKENS])])
    return torch.tensor(rows)
