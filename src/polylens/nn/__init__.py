"""Maths only: no file, no tokenizer, no hub."""
