"""See docs/concepts."""
