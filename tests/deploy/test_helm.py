"""The chart: rendered by Helm, valid for the versions of Kubernetes that it names, and safe by default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.deploying import DEPLOY, Helm, check, tool

from polylens.server.settings import all_settings

CHART = DEPLOY / "helm/polylens"

VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "replicas on object storage": {
        "replicas": 3,
        "library": {"address": "s3://papers/all"},
        "classifiers": {"address": "s3://papers/classifiers"},
        "keys": {"secret": "polylens-keys"},
        "envFrom": [{"secretRef": {"name": "storage"}}],
        "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "certificate"},
    },
    "volumes and a GPU": {
        "library": {"claim": "documents"},
        "keys": {"secret": "polylens-keys"},
        "state": {"claim": "models"},
        "gpus": 1,
        "settings": {"models": "jinaai/jina-embeddings-v4", "max_wait": 30, "lazy": True},
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    },
}


@pytest.fixture(scope="module")
def helm() -> Iterator[Helm]:
    helm = Helm()
    yield helm
    helm.close()


def render(helm: Helm, values: dict[str, Any]) -> dict[str, Any]:
    """The manifests by their kind."""
    done, printed = helm.template(CHART, values)
    assert done, printed
    return {each["kind"]: each for each in yaml.safe_load_all(printed) if each}


def container(manifests: dict[str, Any]) -> Any:
    [container] = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    return container


def variables(manifests: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container(manifests)["env"]}


def test_it_has_no_faults(helm: Helm) -> None:
    passed, said = helm.lint(CHART)
    assert passed, said


@pytest.mark.parametrize("version", ["1.27.0", "1.37.0"])
@pytest.mark.parametrize("name", VALUES)
def test_kubernetes_takes_it(helm: Helm, name: str, version: str, tmp_path: Path) -> None:
    validate = tool("kubernetes-validate")
    for kind, manifest in render(helm, VALUES[name]).items():
        file = tmp_path / f"{kind}.yaml"
        file.write_text(yaml.safe_dump(manifest), encoding="utf-8")
        check(validate, "--kubernetes-version", version, "--strict", file)


@pytest.mark.parametrize("name", VALUES)
def test_it_runs_with_few_rights(helm: Helm, name: str) -> None:
    manifests = render(helm, VALUES[name])
    pod, inside = manifests["Deployment"]["spec"]["template"]["spec"], container(manifests)["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
    assert inside["readOnlyRootFilesystem"] and not inside["allowPrivilegeEscalation"]
    assert inside["capabilities"]["drop"] == ["ALL"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # POLYLENS_PORT would be tcp://10.0.0.7:80
    written = {each["mountPath"] for each in container(manifests)["volumeMounts"] if not each.get("readOnly")}
    assert {"/tmp", "/state"} <= written <= {"/tmp", "/state", "/data"}


def test_its_probes_and_resources(helm: Helm) -> None:
    made = container(render(helm, {"startMinutes": 5}))
    assert [made[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")] == [
        "/ready",
        "/ready",
        "/live",
    ]
    assert made["startupProbe"]["failureThreshold"] * made["startupProbe"]["periodSeconds"] == 5 * 60
    assert set(made["resources"]["requests"]) == {"cpu", "memory"}
    gpu = container(render(helm, VALUES["volumes and a GPU"]))
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_replicas(helm: Helm) -> None:
    many = render(helm, VALUES["replicas on object storage"])
    assert many["Deployment"]["spec"]["replicas"] == 3
    assert many["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert many["Ingress"]["spec"]["tls"][0]["secretName"] == "certificate"
    assert "PodDisruptionBudget" not in render(helm, {})
    assert variables(many)["POLYLENS_CLASSIFIERS"] == "s3://papers/classifiers"
    assert "POLYLENS_CLASSIFIERS" not in variables(render(helm, {}))  # the image's own


def test_its_settings_are_the_servers(helm: Helm) -> None:
    known = {setting.variable for setting in all_settings()}
    for values in VALUES.values():
        assert {name for name in variables(render(helm, values)) if name.startswith("POLYLENS_")} <= known
    chosen = variables(render(helm, VALUES["volumes and a GPU"]))
    assert (chosen["POLYLENS_MODELS"], chosen["POLYLENS_MAX_WAIT"]) == ("jinaai/jina-embeddings-v4", "30")
    assert (chosen["POLYLENS_LAZY"], chosen["POLYLENS_LIBRARY"]) == ("true", "/data")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"replicas": 2, "library": {"claim": "a"}, "keys": {"secret": "k"}}, "one process at a time writes"),
        ({"library": {"claim": "a", "address": "s3://b/c"}, "keys": {"secret": "k"}}, "both set"),
        ({"library": {"address": "s3://b/c"}}, "a library needs keys.secret"),
    ],
)
def test_what_cannot_work_is_refused(helm: Helm, values: dict[str, Any], reason: str) -> None:
    done, printed = helm.template(CHART, values)
    assert not done and reason in printed
