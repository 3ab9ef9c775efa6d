"""Single-vector models on Qwen2-VL: gme-Qwen2-VL, vdr-2b-multi-v1, mcdse-2b-v1.

One network, several sets of prompts (`prompts.py`). GME, https://arxiv.org/abs/2412.16855; document screenshot
embedding, from which vdr and mcdse descend, https://arxiv.org/abs/2406.11251.
"""
