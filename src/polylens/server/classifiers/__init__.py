"""Few-shot classifiers: the learner, the record of a classifier, and the store that keeps them."""
