"""Where an index lies: a folder of this machine or a bucket of object storage, and who may write to it."""
