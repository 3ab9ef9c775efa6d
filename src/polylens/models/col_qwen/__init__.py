"""ColQwen2, ColQwen2.5 and their kin: Qwen2-VL or Qwen2.5-VL with one vector per token, for pages and questions.

The paper is https://arxiv.org/abs/2407.01449; field_2026_11 facts, section 1.4. Published as an adapter on a base
model, or merged, with the names of colpali-engine or of transformers.
"""
