"""Untrusted input: URLs, images and PDFs of strangers, read within limits."""
