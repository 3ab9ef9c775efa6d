"""The engines against each other on random weights of jina-embeddings-v3's form; `polylens bench` measures real ones.

python benchmarks/engines.py                              # writes 300 MB: 6 layers of width 1024; removes them
python benchmarks/engines.py --layers 24 --rounds 5       # all layers of the published model, but its vocabulary
python benchmarks/engines.py --engine "openvino int8"     # one besides the reference; may be repeated
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from polylens.checkpoints.loading import read_header
from polylens.cli.bars import counting_bar
from polylens.models.jina_clip_v2.config import parse_config
from polylens.models.xlm_rotary.state_dict import native_rules
from polylens.runtime.engines.measuring import REFERENCE, Figures, machine, measure, settings_of
from polylens.runtime.engines.runner import Setting

MARKS = ["<s>", "<pad>", "</s>", "<unk>"]


def main() -> None:
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder) / "model", arguments.layers, arguments.width)
        settings = settings_of(read_header(model))
        settings += [each for each in [Setting(engine="openvino", dtype="float32")] if each not in settings]
        if arguments.engine:
            settings = [each for each in settings if each == REFERENCE or each.name in arguments.engine]
        with counting_bar("steps") as report:
            figures = measure(model, settings, num_texts=arguments.texts, rounds=arguments.rounds, progress=report)
    print_table(figures)
    told = {"machine": machine(), "engines": {name: asdict(each) for name, each in figures.items()}}
    print(json.dumps(told["machine"]))
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--texts", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of the processor; by default all")
    parser.add_argument("--engine", action="append", help="a row of the table; may be repeated; by default all")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args()


def write_model(folder: Path, layers: int, width: int) -> Path:
    """Writes random weights and a tokenizer of one token per byte."""
    published = {
        "model_type": "jina_embeddings_v3",
        "vocab_size": 260,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 8194,
        "rope_parameters": {"rope_type": "default", "rope_theta": 20_000.0},
        "matryoshka_dimensions": [width],
    }
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for rule in native_rules(parse_config(published).text):
        for name, shape in rule.published.items():
            is_norm = len(shape) == 1 and name.endswith("weight")
            tensors[name] = torch.ones(shape) if is_norm else 0.02 * torch.randn(shape, generator=generator)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(published))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*MARKS, *alphabet])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def print_table(figures: dict[str, Figures]) -> None:
    columns = list(asdict(next(iter(figures.values()))))
    print(" | ".join(["| engine", *columns]) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, each in figures.items():
        print(
            " | ".join([f"| {name}", *("-" if value is None else f"{value:,}" for value in asdict(each).values())])
            + " |"
        )


if __name__ == "__main__":
    main()
