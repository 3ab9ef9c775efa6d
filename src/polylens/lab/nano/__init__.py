"""The training of nano and of nano-clip, from nothing."""
