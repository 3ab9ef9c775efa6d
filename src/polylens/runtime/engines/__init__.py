"""An engine runs batches of prepared inputs on a device. The torch engine is the reference for every other."""
