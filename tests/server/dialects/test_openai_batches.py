"""OpenAI's own client and its batches: a file of requests, answered line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.serving import Running, serving
from tests.support.vectors import TEXTS, assert_same, plain
from tests.support.waiting import until

from polylens.server.http.access import add_key

openai = pytest.importorskip("openai", reason="pip install openai, to test what its client sends")

ENDED = ("completed", "failed", "expired", "cancelled")
Client = Callable[[Running], Any]


@pytest.fixture
def client_of() -> Iterator[Client]:
    """A client of a server, with a key or without."""
    made = []

    def make(server: Running, key: str = "a-key") -> Any:
        made.append(openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0))
        return made[-1]

    yield make
    for each in made:
        each.close()


def line(custom_id: str, text: Any, model: str = "nano", **more: Any) -> str:
    body = {"model": model, "input": text}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body, **more})


def begun(client: Any, lines: list[str]) -> Any:
    file = client.files.create(file=("requests.jsonl", "\n".join(lines).encode()), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h", metadata={"for": "a test"}
    )


def ended(client: Any, batch: Any) -> Any:
    until(lambda: client.batches.retrieve(batch.id).status in ENDED, lambda: client.batches.retrieve(batch.id))
    return client.batches.retrieve(batch.id)


def answers(client: Any, file_id: str | None) -> dict[Any, Any]:
    assert file_id is not None
    rows = [json.loads(row) for row in client.files.content(file_id).text.splitlines()]
    assert len({row["custom_id"] for row in rows}) == len(rows)
    return {row["custom_id"]: row for row in rows}


def test_lines_are_answered_and_bad_ones_cost_themselves_alone(server: Running, client_of: Client) -> None:
    client = client_of(server)
    lines = [
        line("first", TEXTS[0]),
        line("stranger", "a", model="text-embedding-9"),
        "{not JSON",
        line("both", TEXTS[:2]),
        line("wrong", "a", url="/v1/chat/completions"),
        "",
        line("number", 7),
    ]
    batch = begun(client, lines)
    assert (batch.object, batch.endpoint, batch.metadata) == ("batch", "/v1/embeddings", {"for": "a test"})
    done = ended(client, batch)
    assert (done.status, done.request_counts.to_dict()) == ("completed", {"total": 6, "completed": 2, "failed": 4})
    good, bad = answers(client, done.output_file_id), answers(client, done.error_file_id)
    assert list(good) == ["first", "both"]
    assert {row["response"]["status_code"] for row in good.values()} == {200}
    for name, texts in (("first", TEXTS[:1]), ("both", TEXTS[:2])):
        body = good[name]["response"]["body"]
        assert_same([row["embedding"] for row in body["data"]], plain(server, texts))
        assert body["usage"] == server.embed(texts)["usage"]
    assert bad["stranger"]["response"]["status_code"] == 400
    assert "text-embedding-9" in bad["stranger"]["response"]["body"]["error"]["message"]
    assert bad["number"]["response"]["status_code"] == 422
    assert bad[None]["error"]["code"] == "invalid_json_line" and "line 3" in bad[None]["error"]["message"]
    assert bad["wrong"]["error"] == {
        "code": "mismatched_endpoint",
        "message": "line 5 must be a POST to /v1/embeddings, as its batch is, got 'POST' '/v1/chat/completions'",
    }


def test_one_name_twice(server: Running, client_of: Client) -> None:
    client = client_of(server)
    done = ended(client, begun(client, [line("a", "one"), line("a", "two"), line("b", "three")]))
    assert list(answers(client, done.output_file_id)) == ["a", "b"]
    told = answers(client, done.error_file_id)["a"]["error"]
    assert told == {"code": "duplicate_custom_id", "message": "line 2 has the custom_id of an earlier line"}


def test_lists_and_deletion(server: Running, client_of: Client) -> None:
    client = client_of(server)
    batches = [begun(client, [line("a", "one")]) for _ in range(3)]
    for each in batches:
        ended(client, each)
    named = [each.id for each in client.batches.list(limit=2)]  # the client asks for page after page
    assert {each.id for each in batches} <= set(named) and len(named) == len(set(named))
    oldest_first = [each.id for each in client.files.list(order="asc", limit=1)]
    assert oldest_first == [each.id for each in client.files.list()][::-1] and len(set(oldest_first)) >= 6
    output = client.batches.retrieve(batches[0].id).output_file_id
    kept = [each.id for each in client.files.list(purpose="batch_output", limit=1)]
    assert output in kept and batches[0].input_file_id not in kept
    assert client.files.retrieve(output).purpose == "batch_output"
    assert client.files.delete(output).deleted
    for gone in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match="there is no file"):
            gone(output)


def test_what_is_no_batch_is_refused(server: Running, client_of: Client) -> None:
    client = client_of(server)
    with pytest.raises(openai.UnprocessableEntityError, match="purpose"):
        client.files.create(file=("a.jsonl", b"{}"), purpose="fine-tune")
    with pytest.raises(openai.NotFoundError, match="there is no file"):
        client.batches.create(input_file_id="../../x", endpoint="/v1/embeddings", completion_window="24h")
    file = client.files.create(file=("a.jsonl", b"\n\n"), purpose="batch")
    with pytest.raises(openai.UnprocessableEntityError, match="endpoint"):
        client.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
    done = ended(
        client, client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    )
    assert done.status == "failed" and "between 1 and 50,000 requests" in done.errors.data[0].message
    for body, kind in ((b"{}", "application/json"), (b"--x\r\n", "multipart/form-data; boundary=x"), (b"", "")):
        answer = server.http.post("/v1/files", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 422, answer.text


def test_a_batch_is_its_keys_alone(client_of: Client, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    keys = [add_key(home / "keys", name) for name in ("ada", "bob")]
    with serving("--model", "nano", "--keys", str(home / "keys"), home=home) as running:
        ada, bob = (client_of(running, key) for key in keys)
        batch = ended(ada, begun(ada, [line("a", "one")]))
        assert [each.id for each in ada.batches.list()] == [batch.id] and list(bob.batches.list()) == []
        for ask in (
            lambda: bob.batches.retrieve(batch.id),
            lambda: bob.batches.cancel(batch.id),
            lambda: bob.files.content(batch.output_file_id),
            lambda: bob.files.delete(batch.output_file_id),
            lambda: bob.batches.create(
                input_file_id=batch.input_file_id, endpoint="/v1/embeddings", completion_window="24h"
            ),
        ):
            with pytest.raises(openai.NotFoundError):
                ask()
        with pytest.raises(openai.AuthenticationError):
            client_of(running).batches.list()


def test_a_killed_server_goes_on_behind_the_last_answer(client_of: Client, tmp_path: Path) -> None:
    lines = [line(f"line {number}", f"{'ships in the harbour ' * 20}{number}") for number in range(120)]
    kept = tmp_path / ".local/share/polylens/batches"
    with pytest.raises(AssertionError), serving("--model", "nano", home=tmp_path) as running:
        client = client_of(running)
        batch = begun(client, lines)
        until(lambda: client.batches.retrieve(batch.id).request_counts.completed >= 16)
        running.process.kill()
        running.process.wait()
    gathered = kept / f"{batch.id}.output"
    before = gathered.read_bytes()
    assert 16 <= before.count(b"\n") < 120
    gathered.write_bytes(before + b'{"id": "batch_req_half of a li')
    with serving("--model", "nano", home=tmp_path) as running:
        client = client_of(running)
        with (
            serving("--model", "nano", home=tmp_path) as second,
            pytest.raises(openai.ConflictError, match="--batches"),
        ):
            client_of(second).files.create(file=("a.jsonl", b"{}"), purpose="batch")
        done = ended(client, batch)
        assert done.request_counts.to_dict() == {"total": 120, "completed": 120, "failed": 0}
        content = client.files.content(done.output_file_id).content
        assert content.startswith(before)
        assert list(answers(client, done.output_file_id)) == [f"line {number}" for number in range(120)]


def test_a_batch_can_be_cancelled_and_the_folder_is_bounded(client_of: Client, tmp_path: Path) -> None:
    lines = [line(f"line {number}", f"{'ships in the harbour ' * 60}{number}") for number in range(500)]
    with serving("--model", "nano", "--max-batches-mb", "1", home=tmp_path) as running:
        client = client_of(running)
        batch = begun(client, lines)
        with pytest.raises(openai.APIStatusError, match="1,048,576 bytes together") as refused:
            client.files.create(file=("a.jsonl", bytes(500_000)), purpose="batch")
        assert refused.value.status_code == 413
        with pytest.raises(openai.ConflictError, match="cancel that first"):
            client.files.delete(batch.input_file_id)
        assert client.batches.cancel(batch.id).status == "cancelling"
        done = ended(client, batch)
        assert done.status == "cancelled" and done.request_counts.completed < 500
        client.files.delete(batch.input_file_id)
        full = ended(client, begun(client, lines))
        assert full.status == "failed" and full.request_counts.completed > 0
        assert [each.code for each in full.errors.data] == ["too_large"]
        assert len(answers(client, full.output_file_id)) == full.request_counts.completed
