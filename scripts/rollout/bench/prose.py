"""Mail bodies that compress as little as real mail: a made-up language with the word frequencies of a spoken one.

The seed's own bodies repeat one sentence and shrink to a twentieth, which would flatter whatever compresses. These shrink to less
than a half under gzip, as archives of real mail do; the bench says by how much, of the very rows that it dumps.
"""

from __future__ import annotations

import itertools
import random

# What every mail has, the most frequent first; the rest of the vocabulary is made up of these parts, longer the rarer.
COMMON = """
the to of and a in is we you for on that it with your our this be are plan about have i will as at from or if can not by please
me new all any more so has was but they an sent mail thanks call time team week would like what know let us their
"""
ONSETS = "b c d f g h l m n p r s t v w b c d f g l m n p r s t ch cl pr sh st th tr"
VOWELS = "a e i o u a e i o e ea ou"
CODAS = "n r s t l d n r s t ng nt st ed ing er"
VOCABULARY = 20_000
ZIPF_OFFSET = 2.7  # Mandelbrot's: frequency is 1 / (rank + offset), as counted in English
MEDIAN_WORDS, SPREAD, MOST_WORDS = 150, 0.9, 3000
SENTENCE_WORDS, PARAGRAPH_SENTENCES = (4, 22), (1, 6)
VARIED = 0.08  # of the words carry a number, a date, an address: what no dictionary holds


class Writer:
    """Writes the body of a mail by its number: the same one every time, on every machine."""

    def __init__(self, seed: int) -> None:
        """Make the vocabulary."""
        chance = random.Random(seed)
        made: dict[str, None] = dict.fromkeys(COMMON.split())
        onsets, vowels, codas = ONSETS.split(), VOWELS.split(), [*CODAS.split(), "", ""]
        while len(made) < VOCABULARY:
            syllables = chance.choice((1, 1, 2, 2) if len(made) < VOCABULARY // 10 else (2, 2, 3, 3, 4))
            stem = "".join(chance.choice(part) for _ in range(syllables) for part in (onsets, vowels))
            made[stem + chance.choice(codas)] = None
        self._seed = seed
        self._words = list(made)
        self._weights = list(itertools.accumulate(1 / (rank + ZIPF_OFFSET) for rank in range(1, VOCABULARY + 1)))

    def body(self, n: int) -> str:
        """Return the text of mail `n`."""
        chance = random.Random(self._seed * 1_000_003 + n)
        count = max(5, min(MOST_WORDS, round(chance.lognormvariate(0, SPREAD) * MEDIAN_WORDS)))
        words = chance.choices(self._words, cum_weights=self._weights, k=count)
        for _ in range(round(count * VARIED)):
            words[chance.randrange(count)] = _varied(chance)
        sentences, at = [], 0
        while at < count:
            length = chance.randint(*SENTENCE_WORDS)
            sentence = " ".join(words[at : at + length])
            sentences.append(sentence[0].upper() + sentence[1:] + chance.choice("....?!"))
            at += length
        paragraphs, at = [], 0
        while at < len(sentences):
            length = chance.randint(*PARAGRAPH_SENTENCES)
            paragraphs.append(" ".join(sentences[at : at + length]))
            at += length
        name = words[0].capitalize()
        farewell = chance.choice(("Regards", "Best", "Thanks"))
        return f"Hello {name},\n\n" + "\n\n".join(paragraphs) + f"\n\n{farewell},\n{words[-1]}\n"


def _varied(chance: random.Random) -> str:
    number = chance.getrandbits(48)
    kinds = (f"{number % 10_000:,}", f"#{number:x}", f"https://{number % 97}.example/{number:x}", f"2026-11-{number % 28:02}")
    return kinds[number % len(kinds)]
