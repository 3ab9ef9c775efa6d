"""POST /v1/classify and POST /v1/train on a running server, against the vectors that labels rest on."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.support.serving import Running


def png(colour: str = "red") -> str:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (56, 56), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def dense(server: Running, value: Any, model: str, **fields: Any) -> np.ndarray[Any, Any]:
    return np.array([row["embedding"] for row in server.embed(value, model=model, **fields)["data"]])


class TestZeroShot:
    def test_the_softmax_of_plain_cosines(self, server: Running) -> None:
        labels = ["Simple task", "Complex task", "Creative writing"]
        body = {"model": "tiny-clip", "input": ["a text", {"image": png()}], "labels": labels}
        rows = server.post("/v1/classify", body).json()["data"]
        cosines = dense(server, body["input"], "tiny-clip") @ dense(server, labels, "tiny-clip").T
        expected = np.exp(cosines) / np.exp(cosines).sum(axis=1, keepdims=True)
        for row, scores in zip(rows, expected, strict=True):
            assert [each["label"] for each in row["predictions"]] == labels
            assert [each["score"] for each in row["predictions"]] == pytest.approx(scores, abs=1e-5)
            assert (row["prediction"], row["score"]) == (labels[scores.argmax()], pytest.approx(scores.max(), abs=1e-5))

    def test_v3_classifies_with_its_own_adapter(self, server: Running) -> None:
        labels = ["x", "y"]
        (row,) = server.post("/v1/classify", {"model": "tiny-v3", "input": "a", "labels": labels}).json()["data"]
        task = {"task": "classification"}
        cosines = dense(server, "a", "tiny-v3", **task) @ dense(server, labels, "tiny-v3", **task).T
        assert row["predictions"][0]["score"] == pytest.approx(
            1 / (1 + np.exp(cosines[0, 1] - cosines[0, 0])), abs=1e-5
        )

    def test_groups(self, server: Running) -> None:
        body = {"model": "nano", "input": "a", "labels": {"size": ["big", "small"], "colour": ["red"]}}
        (row,) = server.post("/v1/classify", body).json()["data"]
        assert set(row["prediction"]) == set(row["score"]) == set(row["predictions"]) == {"size", "colour"}
        assert row["score"]["colour"] == 1.0

    @pytest.mark.parametrize(
        ("labels", "status"),
        [
            ([], 422),
            (["x"] * 513, 400),
            ({}, 400),
            ({str(n): ["x"] for n in range(9)}, 400),
            ({"g": [str(n) for n in range(65)]}, 422),
            ("x", 422),
            (None, 422),
        ],
    )
    def test_labels_that_do_not_do(self, server: Running, labels: Any, status: int) -> None:
        response = server.post("/v1/classify", {"model": "nano", "input": "a", "labels": labels})
        assert response.status_code == status, response.text


SAMPLES = [
    {"text": text, "label": label}
    for label, texts in {
        "harbour": ["a ship in the harbour", "the harbour lies in the north", "ships leave the harbour"],
        "kitchen": ["bread in the oven", "flour, salt and water", "the oven bakes bread"],
    }.items()
    for text in texts
]


class TestFewShot:
    def test_trained_used_listed_taught_more_and_forgotten(self, server: Running) -> None:
        body = {"model": "nano", "input": SAMPLES, "num_iters": 5, "access": "private"}
        trained = server.post("/v1/train", body).json()
        texts = [sample["text"] for sample in SAMPLES]
        assert trained["num_samples"] == 6
        assert trained["usage"]["total_tokens"] == 5 * server.embed(texts)["usage"]["total_tokens"]
        few_shot = {"classifier_id": trained["classifier_id"], "input": ["a harbour full of ships", {"text": "bread"}]}
        rows = server.post("/v1/classify", few_shot).json()["data"]
        assert [row["prediction"] for row in rows] == ["harbour", "kitchen"]
        assert sum(each["score"] for each in rows[0]["predictions"]) == pytest.approx(1, abs=1e-5)
        more = {"classifier_id": trained["classifier_id"], "input": {"image": png(), "label": "picture"}}
        assert server.post("/v1/train", more).json()["classifier_id"] == trained["classifier_id"]
        (listed,) = [
            row for row in server.http.get("/v1/classifiers").json() if row["classifier_id"] == trained["classifier_id"]
        ]
        assert listed["labels"] == ["harbour", "kitchen", "picture"]
        assert (listed["updated_number"], listed["used_number"], listed["access"]) == (1, 1, "private")
        path = f"/v1/classifiers/{trained['classifier_id']}"
        assert server.http.delete(path).status_code == 200
        assert server.http.delete(path).status_code == 404
        assert server.post("/v1/classify", few_shot).status_code == 404

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"input": []}, 422),
            ({"input": [{"text": "a", "label": "x"}]}, 400),
            ({"input": [{"text": "a"}]}, 422),
            ({"input": [{"label": "a"}]}, 422),
            ({"input": ["a"]}, 422),
            ({"num_iters": 0}, 422),
            ({"access": "secret"}, 422),
            ({"model": None}, 422),
            ({"model": "none"}, 400),
            ({"classifier_id": "../../etc/passwd"}, 404),
        ],
    )
    def test_refused(self, server: Running, change: dict[str, Any], status: int) -> None:
        response = server.post("/v1/train", {"model": "nano", "input": SAMPLES, **change})
        assert response.status_code == status, response.text
