"""The intake of untrusted input: URLs, images and PDFs that clients send, read within limits."""
