"""jina-colbert-v2: late interaction over texts, by an XLM-RoBERTa with rotary positions and a linear head."""
