"""Compose, systemd and the proxies: checked by their own programs, and Caddy in front of a server."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from tests.support.deploying import DEPLOY, check, tool
from tests.support.serving import serving
from tests.support.waiting import HANG, until

from polylens.server.run import GRACE_SECONDS
from polylens.server.settings import MB, Settings, all_settings

KNOWN = {setting.variable for setting in all_settings()}


class TestCompose:
    @pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]], ids=len)
    def test_compose_takes_it(self, files: list[str], tmp_path: Path) -> None:
        named = [part for file in files for part in ("--file", str(DEPLOY / file))]
        said = check(tool("docker-compose"), *named, "config", HOME=str(tmp_path))
        made: Any = yaml.safe_load(said)
        server = made["services"]["polylens"]
        assert server["read_only"] and server["user"] == "10001:10001" and server["cap_drop"] == ["ALL"]
        assert set(server["environment"]) <= KNOWN
        assert server["image"].endswith("-cuda") is ("compose.gpu.yaml" in files)

    def test_its_schema(self) -> None:
        files = [DEPLOY / "compose.yaml", DEPLOY / "compose.gpu.yaml"]
        check(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *files)

    def test_it_waits_for_requests_under_way(self) -> None:
        service = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["polylens"]
        assert int(service["stop_grace_period"].rstrip("s")) > GRACE_SECONDS


class TestSystemd:
    UNIT = DEPLOY / "systemd/polylens.service"

    def test_systemd_takes_it(self, tmp_path: Path) -> None:
        analyze = tool("systemd-analyze", "on Debian: apt-get install systemd")
        unit = tmp_path / "polylens.service"
        unit.write_text(self.UNIT.read_text(encoding="utf-8").replace("/opt/polylens/bin/polylens", "/bin/true"))
        assert check(analyze, "verify", "--man=no", unit).strip() == ""

    def test_it_waits_for_requests_under_way_and_knows_its_variables(self) -> None:
        lines = self.UNIT.read_text(encoding="utf-8").splitlines()
        [seconds] = [int(line.partition("=")[2]) for line in lines if line.startswith("TimeoutStopSec=")]
        assert seconds > GRACE_SECONDS
        given = [
            pair.partition("=")[0] for line in lines if line.startswith("Environment=") for pair in line[12:].split()
        ]
        assert {name for name in given if name.startswith("POLYLENS_")} <= KNOWN | {"POLYLENS_CACHE"}


class TestProxies:
    def test_nginx_takes_it(self, tmp_path: Path) -> None:
        nginx = tool("nginx", "on Debian: apt-get install nginx-light")
        key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
        subject = ["-subj", "/CN=search.example.org"]
        openssl = tool("openssl", "on Debian: apt-get install openssl")
        check(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject)
        site = (DEPLOY / "proxy/nginx.conf").read_text(encoding="utf-8")
        place = "/etc/letsencrypt/live/search.example.org"
        site = site.replace(f"{place}/fullchain.pem", str(certificate)).replace(f"{place}/privkey.pem", str(key))
        whole = tmp_path / "nginx.conf"
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        elsewhere = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
        inside = f"access_log off; {elsewhere} {site}"
        whole.write_text(f"pid {tmp_path}/pid; events {{}} http {{ {inside} }}", encoding="utf-8")
        check(nginx, "-t", "-p", tmp_path, "-e", "stderr", "-c", whole)

    def test_they_agree_with_the_servers_limits(self) -> None:
        settings = Settings()
        for name, size in (
            ("Caddyfile", f"max_size {settings.max_body_mb}MiB"),
            ("nginx.conf", "client_max_body_size 64m"),
        ):
            text = (DEPLOY / "proxy" / name).read_text(encoding="utf-8")
            assert size in text and f"{settings.max_request_seconds + 20:g}s" in text
        assert settings.max_body_mb * MB == 64 * MB

    def test_caddy_in_front_of_a_server(self, tmp_path: Path) -> None:
        with serving(home=tmp_path) as server, proxied(server.url, tmp_path) as client:
            until(lambda: server.http.get("/ready").status_code == 200)
            answer = client.post("/v1/embeddings", json={"model": "nano", "input": "a harbour"})
            assert answer.status_code == 200 and len(answer.json()["data"][0]["embedding"]) == 256
            assert answer.headers["strict-transport-security"]
            for inside in ("/metrics", "/health", "/ready", "/live", "/ping"):
                assert server.http.get(inside).status_code == 200
                assert client.get(inside).status_code == 404
            too_large = client.post("/v1/embeddings", content=b"x" * (65 * MB))
            assert too_large.status_code == 413


@contextmanager
def proxied(upstream: str, folder: Path) -> Iterator[httpx2.Client]:
    """A client of Caddy with our file, a certificate of its own and nothing of this machine's."""
    caddy = tool("caddy")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copy(DEPLOY / "proxy/Caddyfile", folder / "site")
    whole = folder / "Caddyfile"
    options = "admin off\n auto_https disable_redirects\n skip_install_trust\n local_certs"
    whole.write_text(f"{{\n {options}\n}}\nimport site\n", encoding="utf-8")
    variables = {
        "PROXY_SITE": f"https://localhost:{port}",
        "PROXY_UPSTREAM": upstream.removeprefix("http://"),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    log = folder / "caddy.log"
    with log.open("w", encoding="utf-8") as stderr:
        command = [caddy, "run", "--config", whole, "--adapter", "caddyfile"]
        process = subprocess.Popen(command, stderr=stderr, env={**os.environ, **variables}, cwd=folder)
    root = folder / "caddy/pki/authorities/local/root.crt"
    try:
        until(lambda: process.poll() is not None or (root.exists() and accepts(port)), lambda: log.read_text())
        assert process.poll() is None, log.read_text()
        trust = ssl.create_default_context(cafile=str(root))
        until(lambda: handshakes(port, trust), lambda: log.read_text())
        with httpx2.Client(base_url=f"https://localhost:{port}", verify=trust, trust_env=False, timeout=HANG) as client:
            yield client
    finally:
        process.terminate()
        process.wait()


def accepts(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def handshakes(port: int, trust: ssl.SSLContext) -> bool:
    """Whether the certificate has been issued."""
    try:
        with socket.create_connection(("127.0.0.1", port)) as raw, trust.wrap_socket(raw, server_hostname="localhost"):
            return True
    except ssl.SSLError:
        return False
