"""The command line: parses, calls, prints. Results go to stdout, everything else to stderr.

What a command needs is imported inside it, so that `polylens --help` answers at once.
"""

from polylens.cli import embedding, reranking, converting, libraries, searching, reading, serving, assisting  # isort: skip  # help names them in this order
from polylens.cli import training, measuring, measuring_mteb, measuring_clip, benching  # isort: skip
from polylens.cli.app import app, main

__all__ = [
    "app",
    "assisting",
    "benching",
    "converting",
    "embedding",
    "libraries",
    "main",
    "measuring",
    "measuring_clip",
    "measuring_mteb",
    "reading",
    "reranking",
    "searching",
    "serving",
    "training",
]
