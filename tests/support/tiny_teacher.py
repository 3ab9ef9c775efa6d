"""A tiny file in the layout of the teacher's, with random weights and a vocabulary of a few pieces."""

from __future__ import annotations

import struct

import numpy as np

from polylens.types import FloatArray

WIDTH, LAYERS, HEADS, MLP, POSITIONS, SEGMENTS, EPS = 32, 2, 2, 64, 24, 2, 1e-12
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcdehiln", "▁the", "▁boat", "query", "passage", ":", "▁query"]
NORMALISER = {0xFB01: "fi", 0x3000: " ", 0x200B: ""}


def blocks(numbers: FloatArray) -> bytes:
    """Stores numbers in blocks of 32, one scale each; they are rounded to sixteen levels."""
    rows = numbers.reshape(-1, 32)
    scales = (np.abs(rows).max(axis=1) / 7).astype("<f2")
    levels = np.clip(np.rint(rows / scales[:, None].astype(np.float32)) + 8, 0, 15).astype(np.uint8)
    packed = levels[:, :16] | (levels[:, 16:] << 4)
    return b"".join(scale.tobytes() + row.tobytes() for scale, row in zip(scales, packed, strict=True))


def shapes() -> dict[str, tuple[int, ...]]:
    """Name of each tensor -> its shape."""
    found: dict[str, tuple[int, ...]] = {
        "emb.word": (len(PIECES), WIDTH),
        "emb.pos": (POSITIONS, WIDTH),
        "emb.type": (SEGMENTS, WIDTH),
        "emb.ln.w": (WIDTH,),
        "emb.ln.b": (WIDTH,),
    }
    matrices = {**dict.fromkeys(("q", "k", "v", "ao"), (WIDTH, WIDTH)), "fi": (MLP, WIDTH), "fo": (WIDTH, MLP)}
    for layer in range(LAYERS):
        for name, (rows, columns) in matrices.items():
            found[f"l{layer}.{name}.w"] = (rows, columns)
            found[f"l{layer}.{name}.b"] = (rows,)
        for name in ("aln", "oln"):
            found[f"l{layer}.{name}.w"] = found[f"l{layer}.{name}.b"] = (WIDTH,)
    return found


def tiny_file(seed: int = 0, leave_out: str = "") -> bytes:
    """Returns the bytes of a file.

    Args:
        seed: Of the weights.
        leave_out: A tensor that the file lacks.
    """
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes().items():
        numbers = rng.standard_normal(shape).astype(np.float32) * (0.3 if len(shape) == 2 else 0.1)
        if ".aln.w" in name or ".oln.w" in name or name == "emb.ln.w":
            numbers = numbers + 1
        in_blocks = len(shape) == 2 and name not in ("emb.pos", "emb.type")
        tensors[name] = (blocks(numbers) if in_blocks else numbers.astype("<f4").tobytes(), numbers.size)
    tensors.pop(leave_out, None)

    head = b"E5S1" + struct.pack("<I7i", 1, WIDTH, LAYERS, HEADS, MLP, len(PIECES), POSITIONS, SEGMENTS)
    head += struct.pack("<fi", EPS, 32) + struct.pack("<5i", len(PIECES), 0, 2, 1, 3)
    texts = [piece.encode() for piece in PIECES]
    head += struct.pack("<Q", sum(map(len, texts)))
    head += np.cumsum([0, *map(len, texts)]).astype("<u4").tobytes()
    head += np.array([0.0 if len(piece) > 1 else -5.0 for piece in PIECES], "<f4").tobytes() + b"".join(texts)
    replaced = b"".join(
        struct.pack(f"<IB{len(to)}I", point, len(to), *map(ord, to)) for point, to in NORMALISER.items()
    )
    head += struct.pack("<iI", len(NORMALISER), len(replaced)) + replaced
    table_size = 4 + sum(2 + len(name) + 1 + 4 + 16 for name in tensors)
    table, position = struct.pack("<i", len(tensors)), len(head) + table_size
    for name, (raw, size) in tensors.items():
        table += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", 0, size, position, len(raw))
        position += len(raw)
    return head + table + b"".join(raw for raw, _ in tensors.values())
