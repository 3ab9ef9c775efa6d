"""Texts and images by which an 8-bit graph learns the ranges of its activations. The project makes all of them."""

from __future__ import annotations

import numpy as np
import PIL.Image
import PIL.ImageDraw

from polylens.models.description import Header, TowerPart
from polylens.models.protocol import Item

NUM_TEXTS = 36
NUM_IMAGES = 9
MAX_LENGTH = 512  # tokens of a text
SIDE = 512  # pixels of an image

SENTENCES = (
    "The harbour closes at nine, and the last ferry leaves a quarter of an hour earlier.",
    "How do I reset the password of my account?",
    "Net revenue rose by 4.2 % to 318 million euros, while operating costs fell slightly.",
    "Der Vertrag verlängert sich um ein Jahr, sofern er nicht drei Monate vorher gekündigt wird.",
    "Où puis-je acheter un billet pour le train de nuit ?",
    "La reunión se aplazó porque dos de los ponentes perdieron su vuelo.",
    "Il motore si ferma quando la temperatura dell'olio supera i centoventi gradi.",
    "A bateria deve ser carregada antes da primeira utilização.",
    "Музей открыт ежедневно, кроме понедельника, с десяти до шести.",
    "Η βιβλιοθήκη δανείζει έως πέντε βιβλία για τρεις εβδομάδες.",
    "يرجى الاحتفاظ بالإيصال حتى نهاية فترة الضمان.",
    "החנות נסגרת מוקדם בימי שישי ובערבי חג.",
    "कृपया आवेदन के साथ पहचान पत्र की एक प्रति लगाएँ।",
    "โปรดตรวจสอบแรงดันลมยางก่อนออกเดินทาง",
    "请在收到货物后七天内检查数量和质量。",
    "次の電車は三番線から十時十二分に発車します。",
    "설치하기 전에 전원 코드를 뽑으십시오.",
    "Vé đã mua không được đổi hoặc trả lại.",
    "def area(width, height):\n    return width * height\n",
    "SELECT name, COUNT(*) FROM orders WHERE total > 100 GROUP BY name;",
    "invoice no. 20817",
    "Protein folding proceeds through a funnel of states whose free energy decreases towards the native structure.",
    "Add the flour little by little, knead for ten minutes, and let the dough rest in a warm place.",
    "Toplantı salonu ikinci katta, merdivenlerin hemen solunda.",
)


def calibration_items(header: Header, task: str | None, part: TowerPart) -> list[Item]:
    """Returns inputs of many kinds and lengths, prepared for a model.

    Args:
        header: The header of its checkpoint.
        task: The adapter of the texts.
        part: The tower that will read them; one for images has sequences of one length.
    """
    processor = header.processor
    if part.one_length:
        return [processor.image(image, task=None, max_pixels=None) for image in calibration_images()]
    _, prompt = processor.role(None, None)
    return [
        processor.text(text, task=task, prompt_name=prompt, max_length=min(MAX_LENGTH, header.context))
        for text in calibration_texts()
    ]


def calibration_texts() -> list[str]:
    """Returns each sentence alone, and then longer and longer texts of several.

    Example:
        >>> texts = calibration_texts()
        >>> len(texts), min(map(len, texts)), max(map(len, texts)) > 500
        (36, 17, True)
    """
    rng = np.random.default_rng(0)
    counts = range(2, NUM_TEXTS - len(SENTENCES) + 2)
    return [*SENTENCES, *(" ".join(SENTENCES[i] for i in rng.integers(len(SENTENCES), size=n)) for n in counts)]


def calibration_images() -> list[PIL.Image.Image]:
    """Returns pages, smooth pictures and noisy ones in turn."""
    rng = np.random.default_rng(0)
    return [(_page, _smooth, _noise)[i % 3](rng) for i in range(NUM_IMAGES)]


def _page(rng: np.random.Generator) -> PIL.Image.Image:
    image = PIL.Image.new("RGB", (SIDE, SIDE), "white")
    draw = PIL.ImageDraw.Draw(image)
    for line, i in enumerate(rng.integers(len(SENTENCES), size=20)):
        draw.text((24, 24 + 23 * line), SENTENCES[i].encode("ascii", "replace").decode(), fill="black")
    return image


def _smooth(rng: np.random.Generator) -> PIL.Image.Image:
    coarse = rng.integers(256, size=(5, 5, 3), dtype=np.uint8)
    return PIL.Image.fromarray(coarse).resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC)


def _noise(rng: np.random.Generator) -> PIL.Image.Image:
    base = np.asarray(_smooth(rng), dtype=np.float64)
    return PIL.Image.fromarray(np.clip(base + rng.normal(0, 40, base.shape), 0, 255).astype(np.uint8))
