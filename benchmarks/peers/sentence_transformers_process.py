"""sentence-transformers in a process of its own; `process.py` says how it is asked.

Settings: `model`, a folder in transformers' layout; `backend`, one of those below; `dtype` of the torch back end;
`multivector` for a `MultiVectorEncoder`; `calibration`, texts for "openvino int8"; `precision`, "bf16" or the
plug-in's own choice.

* "torch": as its users load it.
* "onnxruntime": the same object with the network in ONNX Runtime. The back end of its own, optimum-onnx, wants
  transformers 4, which neither knows this architecture nor goes with sentence-transformers 6.
* "openvino": its own back end. optimum-intel has no export for this architecture, so it is handed that of XLM-RoBERTa,
  whose inputs are the same.
* "openvino int8": the same graph, quantized statically by nncf as optimum-intel does it, on the texts it is given.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from process import Encode, Settings, answer_requests
from sentence_transformers import SentenceTransformer

CALIBRATION_TOKENS = 384  # to which sentence-transformers pads and cuts the texts that it calibrates with
PACKAGES = {
    "torch": ("sentence-transformers", "transformers", "torch"),
    "onnxruntime": ("sentence-transformers", "transformers", "torch", "onnxruntime"),
    "openvino": ("sentence-transformers", "transformers", "openvino", "optimum-intel", "nncf"),
}


def load(settings: Settings) -> Encode:
    """Loads the model with the back end of the settings."""
    folder = Path(settings["model"])
    if settings.get("multivector"):
        return _multivectors(folder, settings)
    backend = settings["backend"]
    if backend.startswith("openvino"):
        model = _openvino(folder, settings.get("calibration"), settings.get("precision"))
    else:
        model_kwargs = {"dtype": getattr(torch, settings.get("dtype", "float32"))}
        model = SentenceTransformer(str(folder), device="cpu", model_kwargs=model_kwargs)
        if backend == "onnxruntime":
            _run_in_onnxruntime(model)

    def encode(inputs: Sequence[str]) -> Sequence[np.ndarray]:
        return list(model.encode(list(inputs), normalize_embeddings=True, convert_to_numpy=True))

    return encode


def _multivectors(folder: Path, settings: Settings) -> Encode:
    """The tower, the head without a bias, unit rows; a document's marker is its prompt, as ColBERT's library has it."""
    from safetensors.torch import load_file
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer

    dtype = getattr(torch, settings.get("dtype", "float32"))
    head = load_file(folder / "head.safetensors")["weight"].to(dtype)
    tower = Transformer(str(folder), model_kwargs={"dtype": dtype})
    dense = Dense(
        head.shape[1],
        head.shape[0],
        bias=False,
        activation_function=None,
        init_weight=head,
        module_input_name="token_embeddings",
    )
    model = MultiVectorEncoder(
        modules=[tower, dense, Normalize("token_embeddings")],
        device="cpu",
        prompts={"query": "[QueryMarker]", "document": "[DocumentMarker]"},
    )

    def encode(inputs: Sequence[str]) -> Sequence[np.ndarray]:
        return [each.float().numpy() for each in model.encode_document(list(inputs))]

    return encode


class _OnnxNetwork(torch.nn.Module):
    """What sentence-transformers asks of a network, answered by ONNX Runtime."""

    def __init__(self, network: torch.nn.Module, file: Path) -> None:
        import onnxruntime

        super().__init__()
        self.config = network.config
        self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        feeds = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
        [hidden] = self.session.run(None, feeds)
        return BaseModelOutput(last_hidden_state=torch.from_numpy(hidden))


class _HiddenStates(torch.nn.Module):
    """The network as a graph is exported from it: two inputs, one output."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.network(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def _run_in_onnxruntime(model: SentenceTransformer) -> None:
    network = model[0].auto_model
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        ids = torch.randint(4, 260, (2, 24))
        batch, tokens = torch.export.Dim("batch", max=512), torch.export.Dim("tokens", max=8192)
        torch.onnx.export(
            _HiddenStates(network).eval(),
            (ids, torch.ones_like(ids)),
            file,
            input_names=["input_ids", "attention_mask"],
            output_names=["hidden"],
            dynamic_shapes=({0: batch, 1: tokens}, {0: batch, 1: tokens}),
            dynamo=True,
        )
        model[0].model = _OnnxNetwork(network, file)


def _openvino(folder: Path, calibration: Sequence[str] | None, precision: str | None) -> SentenceTransformer:
    """Exports the graph beside the weights once, then loads it as sentence-transformers does."""
    from optimum.exporters.openvino import main_export
    from optimum.exporters.openvino.model_configs import XLMRobertaOpenVINOConfig
    from transformers import AutoConfig

    graphs = folder / "openvino"
    if not (graphs / "openvino_model.xml").exists():
        described = XLMRobertaOpenVINOConfig(AutoConfig.from_pretrained(folder), task="feature-extraction")
        main_export(
            str(folder),
            graphs,
            task="feature-extraction",
            custom_export_configs={"model": described},
            library_name="transformers",
            local_files_only=True,
        )
    name = "openvino_model.xml"
    if calibration is not None:
        name = "openvino_model_qint8_quantized.xml"  # as sentence-transformers calls it
        _quantize(folder, graphs / "openvino_model.xml", graphs / name, calibration)
    model_kwargs: dict[str, Any] = {"file_name": f"openvino/{name}"}
    if precision is not None:
        model_kwargs["ov_config"] = {"INFERENCE_PRECISION_HINT": precision}
    return SentenceTransformer(str(folder), backend="openvino", device="cpu", model_kwargs=model_kwargs)


def _quantize(folder: Path, source: Path, target: Path, texts: Sequence[str]) -> None:
    import nncf
    import openvino
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    lengths = {"padding": "max_length", "truncation": True, "max_length": CALIBRATION_TOKENS}
    inputs = [dict(tokenizer([text], return_tensors="np", **lengths)) for text in texts]
    inputs = [{name: each[name] for name in ("input_ids", "attention_mask")} for each in inputs]
    graph = openvino.Core().read_model(source)
    quantized = nncf.quantize(
        graph, nncf.Dataset(inputs), subset_size=len(inputs), model_type=nncf.ModelType.TRANSFORMER
    )
    openvino.save_model(quantized, target, compress_to_fp16=False)


if __name__ == "__main__":
    answer_requests(load, PACKAGES[sys.argv[1] if len(sys.argv) > 1 else "torch"])
