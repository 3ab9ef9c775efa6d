"""Texts that lie on any machine and belong together: a sentence and its translation, a docstring and its function.

Nothing is downloaded and nothing is kept. Each kind is split in two, by catalogue or by module, and no text of the
held-out half stands in the other. Manual pages are for training alone. Never needs torch.
"""
