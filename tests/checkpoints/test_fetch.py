"""Downloads through the real huggingface_hub, from a hub of a few lines that listens on this machine.

The hub's address is read from the environment when huggingface_hub is imported, so each fetch runs in a process of its
own; that also shows what a person would see on the screen.
"""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import HANG

import polylens
from polylens.checkpoints.catalog import BASES, find
from polylens.checkpoints.fetch import resolve
from polylens.errors import CheckpointError, HubUnavailableError, InputError, ModelNotFoundError

V4 = "jinaai/jina-embeddings-v4"
PINNED = find(V4).revision
OTHER = "1" * 40
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
READ = {
    "config.json": b"{}",
    "preprocessor_config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors.index.json": json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))}).encode(),
    SHARDS[0]: bytes(range(256)) * 50_000,  # 12.8 MB: more than the client takes in one bite (10 MiB)
    SHARDS[1]: bytes(reversed(range(256))) * 500,
    "adapters/adapter_config.json": b"{}",
    "adapters/adapter_model.safetensors": b"adapters",
}
NOT_READ = {
    "README.md": b"# words",
    "modeling_jina_embeddings_v4.py": b"raise SystemExit('remote code ran')",
    "adapters/custom_lora_module.py": b"raise SystemExit('remote code ran')",
    "pytorch_model.bin": b"a pickle",
    "onnx/model.safetensors": b"another form of the weights",
}

FETCH = """
import json, sys
from polylens.checkpoints.fetch import resolve
from polylens.errors import PolylensError
try:
    print(json.dumps({"folder": str(resolve(sys.argv[1], **json.loads(sys.argv[2])))}))
except PolylensError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


class Hub(ThreadingHTTPServer):
    """As much of the hub's HTTP interface as a snapshot needs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.repositories = {V4: {PINNED, "main"}, "someone/theirs": {OTHER, "main"}}
        self.files = {**READ, **NOT_READ}
        self.others: dict[str, dict[str, bytes]] = {}  # repository -> its files, where they are not `files`
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, Range
        self.cut_once: dict[str, int] = {}  # file -> bytes after which the connection drops, the first time
        self.refused: set[str] = set()  # files answered with status 500
        self.gated = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def got(self, file: str) -> list[str | None]:
        """The Range of each GET for a file."""
        return [span for method, path, span in self.requests if method == "GET" and path.endswith("/" + file)]


class HubHandler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append((self.command, path, self.headers.get("Range")))
        api, parts = path.startswith("/api/models/"), path.removeprefix("/api/models").strip("/").split("/")
        repository, kind, revision, file = "/".join(parts[:2]), parts[2], parts[3], "/".join(parts[4:])
        if repository not in self.server.repositories:
            return self.send(404, b"", {"X-Error-Code": "RepoNotFound"})
        if self.server.gated:
            return self.send(403, b"", {"X-Error-Code": "GatedRepo"})
        if revision not in self.server.repositories[repository]:
            return self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = self.server.others.get(repository, self.server.files)
        commit = next(name for name in self.server.repositories[repository] if name != "main")
        if api and kind == "revision":
            siblings = [{"rfilename": name} for name in files]
            return self.send_json({"id": repository, "modelId": repository, "sha": commit, "siblings": siblings})
        if api and kind == "tree":
            return self.send_json(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in files.items()
                ]
            )
        if file in self.server.refused and with_body:
            return self.send(500, b"", {})
        return self.send_file(file, files[file], commit, with_body=with_body)

    def send_json(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, file: str, data: bytes, commit: str, *, with_body: bool) -> None:
        start = 0
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if span := self.headers.get("Range"):
            start = int(span.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers["Content-Length"] = str(len(data) - start)
        body = data[start:] if with_body else b""
        if with_body and (cut := self.server.cut_once.pop(file, None)) is not None:
            body = body[:cut]  # less than was announced
            self.close_connection = True
        self.send(206 if span else 200, body, headers)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def environment(home: Path, address: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("HF_", "HUGGING"))}
    return {
        **kept,
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def fetch(name: str, home: Path, address: str, **options: Any) -> dict[str, str]:
    """What `resolve` answered in a fresh process where every warning is an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FETCH, name, json.dumps(options)],
        env=environment(home, address),
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "stderr": done.stderr}


def contents(folder: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_a_download_brings_what_is_read_and_no_code(hub: Hub, tmp_path: Path) -> None:
    answer = fetch("jina-embeddings-v4", tmp_path, hub.address)
    assert contents(answer["folder"]) == READ
    asked = {path for method, path, _ in hub.requests if method in ("GET", "HEAD")}
    assert not [path for path in asked if path.endswith((".py", ".bin", ".md"))]
    assert answer["stderr"] == "", "a pipe gets no progress bar"


def test_the_catalog_name_asks_for_the_pinned_commit(hub: Hub, tmp_path: Path) -> None:
    fetch(V4, tmp_path, hub.address)
    assert all(PINNED in path for _, path, _ in hub.requests)


def test_another_revision_can_be_asked_for(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[V4] = {OTHER}
    assert "folder" in fetch(V4, tmp_path, hub.address, revision=OTHER)
    assert all(OTHER in path for _, path, _ in hub.requests)


def test_a_repository_outside_the_catalog_gives_its_default_branch(hub: Hub, tmp_path: Path) -> None:
    answer = fetch("someone/theirs", tmp_path, hub.address)
    assert contents(answer["folder"]) == READ
    assert ("GET", "/api/models/someone/theirs/revision/main", None) in hub.requests


def test_a_dropped_connection_is_taken_up_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    hub.cut_once[SHARDS[0]] = 12_000_000
    answer = fetch(V4, tmp_path, hub.address)
    assert contents(answer["folder"]) == READ
    assert hub.got(SHARDS[0]) == [None, f"bytes={10 * 2**20}-"]


def test_the_next_attempt_fetches_only_what_is_missing(hub: Hub, tmp_path: Path) -> None:
    hub.refused.add(SHARDS[1])
    first = fetch(V4, tmp_path, hub.address)
    assert first["error"] == "HubUnavailableError"
    hub.refused.clear()
    hub.requests.clear()
    second = fetch(V4, tmp_path, hub.address)
    assert contents(second["folder"]) == READ
    assert hub.got(SHARDS[1]) == [None]
    assert hub.got(SHARDS[0]) == []


def test_once_here_it_needs_no_network(hub: Hub, tmp_path: Path) -> None:
    online = fetch(V4, tmp_path, hub.address)
    hub.requests.clear()
    assert fetch(V4, tmp_path, hub.address, local_files_only=True)["folder"] == online["folder"]
    assert fetch(V4, tmp_path, NOWHERE)["folder"] == online["folder"]
    assert hub.requests == []


@pytest.mark.parametrize("options", [{}, {"local_files_only": True}], ids=["unreachable", "kept offline"])
@pytest.mark.parametrize(("name", "revision"), [(V4, PINNED), ("someone/theirs", "main")])
def test_without_network_the_error_says_how_to_pass_a_folder(
    name: str, revision: str, options: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == V4:  # else five attempts, 23 s: the client repeats some requests and not others
        monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    answer = fetch(name, tmp_path, NOWHERE, revision=revision, **options)
    assert answer["error"] == "HubUnavailableError"
    assert f"hf download {name} --revision {revision} --local-dir FOLDER" in answer["message"]
    assert 'polylens.load("FOLDER")' in answer["message"]


def test_half_a_download_is_not_taken_for_a_model(hub: Hub, tmp_path: Path) -> None:
    hub.refused.add(SHARDS[1])
    fetch(V4, tmp_path, hub.address)
    answer = fetch(V4, tmp_path, hub.address, local_files_only=True)
    assert answer["error"] in ("HubUnavailableError", "CheckpointError")
    assert SHARDS[1] in answer["message"]


def test_unknown_repository_unknown_revision_and_closed_door(hub: Hub, tmp_path: Path) -> None:
    answer = fetch("no/such-model", tmp_path, hub.address)
    assert answer["error"] == "ModelNotFoundError" and "'no/such-model'" in answer["message"]
    answer = fetch(V4, tmp_path, hub.address, revision="nowhere")
    assert answer["error"] == "ModelNotFoundError" and "'nowhere'" in answer["message"]
    hub.gated = True
    answer = fetch(V4, tmp_path, hub.address)
    assert answer["error"] == "ModelNotFoundError" and "accept its terms" in answer["message"]


def test_a_repository_that_is_no_model_is_told_by_what_it_lacks(hub: Hub, tmp_path: Path) -> None:
    del hub.files["config.json"]
    answer = fetch("someone/theirs", tmp_path, hub.address)
    assert answer["error"] == "CheckpointError" and "lacks config.json" in answer["message"]


ADAPTER = {
    "adapter_config.json": b'{"base_model_name_or_path": "someone/theirs"}',
    "adapter_model.safetensors": b"an adapter",
    "tokenizer.json": b"{}",
    "processor_config.json": b"{}",
}


def test_an_adapter_brings_its_base_model(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["someone/adapter"] = {OTHER, "main"}
    hub.others["someone/adapter"] = {**ADAPTER, "train.py": b"raise SystemExit('remote code ran')"}
    answer = fetch("someone/adapter", tmp_path, hub.address)
    assert contents(answer["folder"]) == ADAPTER
    hub.requests.clear()
    assert fetch("someone/adapter", tmp_path, NOWHERE, local_files_only=True)["folder"] == answer["folder"]
    assert fetch("someone/theirs", tmp_path, NOWHERE, local_files_only=True)["folder"], "the base is here as well"


def test_an_adapter_without_its_base_says_where_the_base_may_lie(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["someone/adapter"] = {OTHER, "main"}
    hub.others["someone/adapter"] = ADAPTER
    hub.refused.add(SHARDS[0])
    answer = fetch("someone/adapter", tmp_path, hub.address)
    assert answer["error"] == "HubUnavailableError"
    assert "is an adapter on the base model 'someone/theirs'" in answer["message"]
    assert "hf download someone/theirs --local-dir FOLDER/theirs" in answer["message"]


def test_the_base_is_pinned_where_the_catalog_knows_it(hub: Hub, tmp_path: Path) -> None:
    name = "Qwen/Qwen2.5-VL-3B-Instruct"
    hub.repositories |= {"someone/adapter": {OTHER, "main"}, name: {str(BASES[name])}}
    hub.others["someone/adapter"] = {
        **ADAPTER,
        "adapter_config.json": b'{"base_model_name_or_path": "/root/models/Qwen2.5-VL-3B-Instruct/"}',
    }
    assert "folder" in fetch("someone/adapter", tmp_path, hub.address)
    assert any(f"{name}/resolve/{BASES[name]}" in path for _, path, _ in hub.requests)


def test_a_terminal_gets_a_progress_bar(hub: Hub, tmp_path: Path) -> None:
    screen, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FETCH, V4, "{}"],
        env=environment(tmp_path, hub.address),
        stdout=subprocess.PIPE,
        stderr=terminal,
        timeout=HANG,
    )
    os.close(terminal)
    assert b"folder" in done.stdout
    assert b"%" in os.read(screen, 65536)
    os.close(screen)


# -- folders ---------------------------------------------------------------------------------------------------------


def model_folder(folder: Path) -> Path:
    for name, data in READ.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_a_folder_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_folder(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert resolve(folder) == resolve(str(folder)) == folder
    assert resolve("mine").samefile(folder)


def test_a_catalog_name_is_not_shadowed_by_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_folder(tmp_path / "nano")
    monkeypatch.chdir(tmp_path)
    assert resolve("nano").samefile(Path(polylens.__file__).parent / "assets" / "nano")
    assert resolve("./nano").samefile(tmp_path / "nano")
    assert resolve(Path("nano")).samefile(tmp_path / "nano")


@pytest.mark.parametrize("lacking", ["config.json", SHARDS[1]])
def test_a_folder_that_lacks_a_file_is_told_so(lacking: str, tmp_path: Path) -> None:
    (model_folder(tmp_path) / lacking).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {lacking}; found there: adapters"):
        resolve(tmp_path)


def test_a_damaged_index_is_told_so(tmp_path: Path) -> None:
    (model_folder(tmp_path) / "model.safetensors.index.json").write_text('{"weight_map"', encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not an index of shards"):
        resolve(tmp_path)


@pytest.mark.parametrize("name", ["nanno", "./nowhere", "/no/where", "a/b/c", "", "C:\\models\\v4"])
def test_a_name_that_leads_nowhere_lists_what_exists(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="`polylens models` lists those known by name, among them nano, "):
        resolve(name)


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match="is a file; a model is the folder"):
        resolve(file)


def test_a_revision_of_a_folder_means_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a revision applies only to models on the hub"):
        resolve(model_folder(tmp_path), revision="main")


def test_folders_never_import_the_hub(tmp_path: Path) -> None:
    code = "import sys; from polylens.checkpoints.fetch import resolve; resolve(sys.argv[1])"
    code += "; assert 'huggingface_hub' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(model_folder(tmp_path))], check=True, timeout=HANG)


def test_the_error_is_a_connection_error() -> None:
    assert issubclass(HubUnavailableError, ConnectionError)
