"""Synthetic pages for training and evaluation: their content, how it is drawn, and queries about it.

Seeds decide everything, and everything is split in two: words and designs of pages by their hash, fonts by family,
templates of queries by lists. Needs the `train` extra; never needs torch.
"""
