"""The teacher of nano's texts: multilingual-e5-small, read from an installed package and run in our own code.

Wang et al. 2024, https://arxiv.org/abs/2402.05672. It teaches while nano is trained, and is measured beside models;
nothing of its file is part of polylens.
"""
