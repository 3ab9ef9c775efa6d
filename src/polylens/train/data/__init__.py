"""Training data made here: words of many languages, and pictures of them."""
