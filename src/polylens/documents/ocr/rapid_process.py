"""The process that reads pictures with RapidOCR: `python -m polylens.documents.ocr.rapid_process MEMORY`.

It takes pictures from standard input: a line of JSON with the size, and the RGB bytes. It answers each on standard
output with a line of JSON: the lines of words, with boxes in pixels.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

NICENESS = 10  # the model comes first

DETECTION_SIDE = 1280  # pixels of the longer side; A4 at 110 dots per inch

_MODELS = {"Det": "*_det_*.onnx", "Rec": "*_rec_*.onnx", "Cls": "*_cls_*.onnx"}  # in the wheel, each once


def main() -> None:
    """Answers until standard input ends."""
    memory = int(sys.argv[1])
    _limit(memory)
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # whatever a library prints must not get between the answers
        engine = _engine()
        while head := sys.stdin.buffer.readline():
            width, height = json.loads(head)["size"]
            pixels = sys.stdin.buffer.read(3 * width * height)
            if len(pixels) < 3 * width * height:
                return
            picture = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
            answer: dict[str, Any]
            try:
                answer = {"lines": _read(engine, np.ascontiguousarray(picture[..., ::-1]))}  # it takes BGR
            except MemoryError:
                answer = {"error": f"it needs more than {memory:,} bytes of memory"}
            except Exception as error:  # noqa: BLE001  onnxruntime and OpenCV have their own, for want of memory as well
                answer = {"error": f"RapidOCR failed ({type(error).__name__}: {str(error)[:200]})"}
            out.write(json.dumps(answer).encode("ascii") + b"\n")
            out.flush()


def _engine() -> Any:
    """Loads the models that come with RapidOCR. Named by their paths, none is ever looked for on the network."""
    import rapidocr

    folder = Path(rapidocr.__file__).parent / "models"
    models = {f"{part}.model_path": str(max(folder.glob(pattern))) for part, pattern in _MODELS.items()}
    return rapidocr.RapidOCR(
        params={
            **models,
            "Global.log_level": "critical",
            "Global.return_word_box": True,
            "Global.text_score": 0.0,  # who asks decides what is too unsure
            "Det.limit_type": "max",  # lines are found on a picture of that size, and read from the larger one
            "Det.limit_side_len": DETECTION_SIDE,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _read(engine: Any, picture: np.ndarray) -> list[dict[str, Any]]:
    """Reads a picture by the steps of RapidOCR's own call, which drops the lines in which the model knows no letter.

    Here these count: a page of them with a number in between is not a page that was read.
    """
    from rapidocr.main import map_boxes_to_original

    image = engine.load_img(picture)
    fitting, how = engine.preprocess_img(image)
    found, turned, read, parts = engine.run_ocr_steps(fitting, how)
    if found.boxes is None or not read.txts or len(found.boxes) != len(read.txts):
        return []
    unknown = [box for box, text in zip(found.boxes, read.txts, strict=True) if not text.strip()]
    if unknown:
        unknown = list(map_boxes_to_original(np.array(unknown), how, *image.shape[:2]))
    known = (
        _lines(engine.build_final_output(image, found, turned, read, parts, how))
        if len(unknown) < len(read.txts)
        else []
    )
    return [*known, *({"confidence": 0.0, "words": [("", *_corners(box))]} for box in unknown)]


def _lines(result: Any) -> Iterator[dict[str, Any]]:
    texts, pieces = getattr(result, "txts", None), getattr(result, "word_results", None)
    if not texts or not pieces or len(texts) != len(pieces):
        return
    for text, score, parts in zip(texts, result.scores, pieces, strict=True):
        if words := _words(text, parts):
            yield {"confidence": float(score), "words": words}


def _words(text: str, pieces: Sequence[tuple[str, float, Any]]) -> list[tuple[str, float, float, float, float]]:
    """Returns the words of a line, with left, top, right and bottom in pixels.

    Args:
        text: The line.
        pieces: Its letters, or letters that stand together, without the spaces: text, confidence, and four corners.
    """
    words = []
    waiting = iter(pieces)
    for word in text.split():
        corners, length = [], 0
        while length < len(word):
            piece, _, box = next(waiting, ("", 0.0, None))
            if box is None:  # letters and boxes disagree: a line without places is no use here
                return []
            length += len(piece)
            corners.append(np.asarray(box, dtype=float).reshape(-1, 2))
        words.append((word, *_corners(np.concatenate(corners))))
    return words


def _corners(points: np.ndarray) -> tuple[float, float, float, float]:
    """Returns left, top, right and bottom of `[N, 2]` points."""
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return left, top, right, bottom


def _limit(memory: int) -> None:
    """Bounds the memory of this process and lowers its priority, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError, AttributeError):
        import resource

        os.nice(NICENESS)
        if sys.platform == "linux":
            hard = resource.getrlimit(resource.RLIMIT_AS)[1]
            most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))
            resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


if __name__ == "__main__":
    main()
