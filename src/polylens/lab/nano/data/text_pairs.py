"""Training batches of text pairs: a sentence and its translation, or a question and its answer.

A batch has one kind of pairs, and one pair of languages, or telling kinds and languages apart would win most of the
contrast. There are no pictures, so a step costs little.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from polylens.errors import InputError
from polylens.lab.corpora import catalogues, functions, manuals
from polylens.lab.corpora.text import TextPair
from polylens.lab.nano.data.examples import ImageBatch, placeless_batch
from polylens.lab.nano.kits.kit import PixelProcessor

PASSAGE_LENGTH = 4  # sentences that have as many tokens as a function or a passage
LONGEST = 160  # tokens per text; a longer one is cut


def check_pairs(folder: Path = catalogues.FOLDER) -> None:
    """Refuses to train on pairs without any translations, which would make a different model.

    Raises:
        InputError: No message catalogue of any language is installed.
    """
    if not catalogues.any_installed("train", folder):
        raise InputError(
            f"training on text pairs needs message catalogues, and {folder} has none in any of "
            f"{', '.join(sorted(catalogues.LANGUAGES))}; install programs that bring them, such as apt-get install "
            "git gettext gnupg-l10n libc-l10n (slim images of a system leave translations out)"
        )


def make_pair_batch(
    seed: int,
    *,
    processor: PixelProcessor,
    count: int,
    kinds: Sequence[str],
    task: str | None,
    folder: Path = catalogues.FOLDER,
) -> ImageBatch:
    """Makes a batch of pairs of one kind.

    Args:
        seed: Decides everything.
        processor: Of the model that is trained.
        count: Number of pairs.
        kinds: "translations", "functions" and "manuals", each repeated as often as it is to be drawn.
        task: The task whose adapter and prompts are used; None for no adapter.
        folder: The folder of the message catalogues.
    """
    pairs = draw_pairs(random.Random(seed), count, kinds, folder)
    queries = [processor.text(pair.query, task=task, max_length=LONGEST, prompt_name="query") for pair in pairs]
    passages = [processor.text(pair.document, task=task, max_length=LONGEST, prompt_name="passage") for pair in pairs]
    return placeless_batch(queries, [], passages, image_of=[], passage_of=list(range(len(pairs))))


def draw_pairs(
    rng: random.Random, count: int, kinds: Sequence[str], folder: Path = catalogues.FOLDER
) -> Sequence[TextPair]:
    """Draws different pairs of one kind from the training split.

    Translations are of one language, in either direction; languages with fewer than `count` pairs are skipped. Where
    there are too few translations or manual pages, functions are drawn instead.
    """
    kind = rng.choice(kinds)
    if kind == "translations":
        turned = rng.random() < 0.5
        for language in rng.sample(sorted(catalogues.LANGUAGES), len(catalogues.LANGUAGES)):
            pairs = catalogues.pairs(language, "train", folder)
            if len(pairs) >= count:
                drawn = rng.sample(pairs, count)
                return [TextPair(pair.document, pair.query) for pair in drawn] if turned else drawn
    count //= PASSAGE_LENGTH
    if kind == "manuals" and len(manuals.pairs()) >= count:
        return rng.sample(manuals.pairs(), count)
    about_code = functions.pairs("train")
    return rng.sample(about_code, min(count, len(about_code)))
