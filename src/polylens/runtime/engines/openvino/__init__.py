"""The openvino engine: the layers of a model's towers as compiled graphs, the rest of the model in PyTorch."""
