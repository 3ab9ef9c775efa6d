"""The maths that several networks share: no files, no tokenizer, no hub."""
