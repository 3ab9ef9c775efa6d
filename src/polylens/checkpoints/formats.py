"""The forms in which other engines read a model. Torch is not needed to list them."""

from enum import StrEnum


class Format(StrEnum):
    """A form of a checkpoint into which the adapter of one task is merged."""

    TRANSFORMERS = "transformers"
    """The stock network's own layout, which transformers and vLLM read: dense vectors only."""
    VLLM_MULTIVECTOR = "vllm-multivector"
    """The same layout with the projection of the multi-vectors, for a plug-in of vLLM."""
    SENTENCE_TRANSFORMERS = "sentence-transformers"
    """The same layout as a folder of sentence-transformers, multi-vectors only; see `checkpoints/stock_modules.py`."""
    GGUF = "gguf"
    """A text model and a vision tower for llama.cpp, and the projection beside them; see `checkpoints/gguf.py`."""
    ONNX = "onnx"
    """A graph per tower for ONNX Runtime; see `runtime/graph_export.py`."""
    OPENVINO = "openvino"
    """A graph per tower for OpenVINO; see `runtime/graph_export.py`."""

    @property
    def is_graph(self) -> bool:
        """Whether the form is a graph that holds the network itself, and not weights for a network that is known."""
        return self in (Format.ONNX, Format.OPENVINO)
