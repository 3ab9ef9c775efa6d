"""One file per format: each turns a file of its kind into pages. No torch."""
