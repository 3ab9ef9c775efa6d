"""Files and batches of OpenAI's interface, in a folder that one server keeps."""
