"""Pages made here, for training and for evaluation: what they say, how it is drawn, what one may ask about it.

Everything is decided by seeds, and split in two: words by their hash, fonts by family, designs of pages by their hash,
ways of asking by lists. Needs the `train` extra; never needs torch.
"""
