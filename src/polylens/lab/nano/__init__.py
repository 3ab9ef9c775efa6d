"""The training of nano and nano-clip, from random weights."""
