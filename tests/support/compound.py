"""Compound files, which Outlook saves messages as, written by hand ([MS-CFB], version 3)."""

from __future__ import annotations

import struct
from pathlib import Path

SECTOR, MINI, CUTOFF = 512, 64, 4096
END, FREE, FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD

Storage = dict[str, "bytes | Storage"]


def write_compound(path: Path, root: Storage) -> Path:
    """Writes a file with these storages (dictionaries) and streams (bytes)."""
    entries: list[dict[str, int | str | bytes]] = []
    small, large = bytearray(), []
    mini_fat: list[int] = []

    def add(name: str, content: bytes | Storage, kind: int) -> int:
        index = len(entries)
        entry: dict[str, int | str | bytes] = {"name": name, "kind": kind, "child": FREE, "right": FREE}
        entry |= {"start": END, "size": 0}
        entries.append(entry)
        if isinstance(content, bytes):
            entry["size"] = len(content)
            if len(content) >= CUTOFF:
                large.append((index, content))
            elif content:
                entry["start"] = len(mini_fat)
                count = -(-len(content) // MINI)
                mini_fat.extend([*range(len(mini_fat) + 1, len(mini_fat) + count), END])
                small.extend(content.ljust(count * MINI, b"\0"))
        else:
            before = None
            for child, inner in content.items():
                place = add(child, inner, 2 if isinstance(inner, bytes) else 1)
                if before is None:
                    entry["child"] = place
                else:
                    entries[before]["right"] = place
                before = place
        return index

    add("Root Entry", root, 5)
    fat: list[int] = []
    body = bytearray()

    def store(data: bytes) -> int:
        start = len(fat)
        count = -(-len(data) // SECTOR)
        fat.extend([*range(start + 1, start + count), END])
        body.extend(data.ljust(count * SECTOR, b"\0"))
        return start if count else END

    for index, content in large:
        entries[index]["start"] = store(content)
    entries[0]["start"], entries[0]["size"] = store(bytes(small)), len(small)
    mini_start = store(struct.pack(f"<{len(mini_fat)}L", *mini_fat).ljust(-(-len(mini_fat) // 128) * 512, b"\xff"))
    directory = b"".join(map(_entry, entries))
    directory_start = store(directory)
    num_fat = 1
    while (len(fat) + num_fat) > num_fat * 128:
        num_fat += 1
    fat_start = len(fat)
    fat.extend([FAT] * num_fat)
    body.extend(struct.pack(f"<{len(fat)}L", *fat).ljust(num_fat * SECTOR, b"\xff"))
    header = struct.pack(
        "<8s16s5H6x9L", bytes.fromhex("d0cf11e0a1b11ae1"), bytes(16), 0x3E, 3, 0xFFFE, 9, 6, 0, num_fat,
        directory_start, 0, CUTOFF, mini_start, -(-len(mini_fat) // 128), END, 0,
    )  # fmt: skip
    places = [*range(fat_start, fat_start + num_fat), *[FREE] * (109 - num_fat)]
    path.write_bytes(header + struct.pack("<109L", *places) + body)
    return path


def _entry(entry: dict[str, int | str | bytes]) -> bytes:
    name = str(entry["name"]).encode("utf-16-le") + b"\0\0"
    return struct.pack(
        "<64sHBB3L16sL16sLQ", name, len(name), entry["kind"], 1, FREE, entry["right"], entry["child"], bytes(16), 0,
        bytes(16), entry["start"], entry["size"],
    )  # fmt: skip


def properties(header: int, values: dict[tuple[int, int], str | bytes | int]) -> Storage:
    """The streams of a message, a recipient or an attachment: properties by number and type, as [MS-OXMSG] has it.

    Args:
        header: Bytes before the first property: 32 of a message, 8 of the others.
        values: 0x001F is a text, 0x0102 are bytes, 0x0003 is a number.
    """
    table, streams = bytearray(header), {}
    for (number, kind), value in values.items():
        if isinstance(value, int):
            table += struct.pack("<HHLQ", kind, number, 6, value)
            continue
        data = value.encode("utf-16-le") if isinstance(value, str) else value
        table += struct.pack("<HHLLL", kind, number, 6, len(data) + (2 if kind == 0x1F else 0), 0)
        streams[f"__substg1.0_{number:04X}{kind:04X}"] = data
    return {"__properties_version1.0": bytes(table), **streams}
