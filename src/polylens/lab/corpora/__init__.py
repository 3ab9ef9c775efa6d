"""Text pairs from what a machine has installed: sentences with translations, docstrings with functions.

Nothing is downloaded and nothing is kept. Each kind is split in two, by catalogue or by module, and the splits share no
text. Manual pages are for training only. Never needs torch.
"""
