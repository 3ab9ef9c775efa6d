"""Few-shot classifiers: how they learn, and how they are kept."""
