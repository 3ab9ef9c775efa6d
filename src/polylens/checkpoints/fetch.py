"""Finds the folder of a model's files on this machine, and downloads them first if necessary.

Only data are downloaded: JSON and safetensors. Code (`*.py`) and pickles (`*.bin`, `*.pt`) in the same repository are
never downloaded, so nothing that came over the network can run.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from polylens.checkpoints import catalog
from polylens.checkpoints.tensors import INDEX, SINGLE
from polylens.errors import CheckpointError, HubUnavailableError, InputError, ModelNotFoundError
from polylens.models.files import read_json

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

WANTED_FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "config_sentence_transformers.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "adapters/*.json",
    "adapters/*.safetensors",
    "*/adapter_config.json",
    "*/adapter_model.safetensors",
    "artifact.metadata",
    "match.json",
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
)
"""The files of a repository that polylens reads, as patterns of `fnmatch`."""

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def resolve(name_or_folder: str | Path, *, revision: str | None = None, local_files_only: bool = False) -> Path:
    """Returns the folder that holds a model's files, and downloads them first if they are not on this machine.

    A name of the catalog always means the catalog's model, even if the current folder has a folder of that name (which
    is `./nano`). Next, a folder that exists is used as it is. Last, `user/name` is looked up on the hub.

    Where the files are those of an adapter alone, the files of its base model are found or downloaded too.

    Args:
        name_or_folder: A name of the catalog, a folder in the official layout, or `user/name` of a hub repository.
        revision: Branch, tag or commit on the hub. The default is the commit pinned in the catalog; for a
            repository without one, the head of its default branch, which may change from one day to the next.
        local_files_only: Use only the files of earlier downloads, without the network.

    Raises:
        ModelNotFoundError: No such name, folder, repository or revision, or no permission to read the repository.
            That holds for the base model of an adapter too.
        HubUnavailableError: The weights are not on this machine and could not be downloaded. The next attempt keeps
            every complete file, and continues a file whose download was interrupted.
        CheckpointError: The folder lacks a file that every model has.
        InputError: A revision was given for a model that does not come from the hub.
    """
    folder = _resolve(name_or_folder, revision, local_files_only)
    if is_adapter(folder):
        base_folder(folder, local_files_only=local_files_only)
    return folder


def _resolve(name_or_folder: str | Path, revision: str | None, local_files_only: bool) -> Path:
    entry = catalog.find(name_or_folder) if name_or_folder in catalog.known_names() else None
    if entry is not None and entry.repository is not None:
        return _download(entry.repository, revision or entry.revision, local_files_only=local_files_only)

    folder = Path(name_or_folder).expanduser() if entry is None else _packaged(entry.name)
    if entry is None and (name_or_folder == "" or not folder.exists()):
        is_loadable = name_or_folder not in catalog.NOT_LOADABLE
        if isinstance(name_or_folder, str) and _HUB_NAME.fullmatch(name_or_folder) and is_loadable:
            return _download(name_or_folder, revision, local_files_only=local_files_only)
        raise catalog.unknown(str(name_or_folder))
    if revision is not None:
        raise InputError(
            f"a revision applies only to models on the hub, and {str(name_or_folder)!r} is not one; got {revision!r}"
        )
    _require_files(folder)
    return folder


def is_adapter(folder: Path) -> bool:
    """Returns whether a folder holds an adapter alone, as PEFT saves it, and its base model lies elsewhere.

    Raises:
        CheckpointError: The folder holds an adapter and main weights too, which leaves open whether they are merged.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        return False
    if whole := [name for name in (SINGLE, INDEX) if (folder / name).exists()]:
        raise CheckpointError(
            f"{str(folder)!r} has both {whole[0]} and {ADAPTER_CONFIG}, and nothing says whether the adapter is merged "
            f"into the weights already; take away the adapter's files if it is, else {whole[0]}"
        )
    return True


def base_folder(folder: Path, *, local_files_only: bool) -> Path:
    """Returns the folder of the base model of an adapter, which `adapter_config.json` names.

    A path that exists comes first: as it is, or seen from the adapter's folder. Next comes a folder beside the
    adapter's with the last part of the name. Last, the name is a repository on the hub, or the last part of one that
    the catalog knows as a base, since a published adapter may name a path on the machine of its authors.

    Args:
        folder: The adapter's folder.
        local_files_only: Use only the files of earlier downloads, without the network.

    Raises:
        CheckpointError: `adapter_config.json` names no base, or the base lacks a file, or is an adapter itself.
        ModelNotFoundError: The base is neither on this machine nor on the hub.
        HubUnavailableError: The base is not on this machine and could not be downloaded.
    """
    named = read_json(folder / ADAPTER_CONFIG)
    name = named.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise CheckpointError(f"{folder / ADAPTER_CONFIG} must name its base in base_model_name_or_path, got {name!r}")
    last = re.split(r"[\\/]", name.rstrip("\\/"))[-1]
    is_hub_name = _HUB_NAME.fullmatch(name) is not None
    places = [folder / Path(name).expanduser(), *([] if is_hub_name else [Path(name)]), folder.parent / last]
    for place in places:
        if (place / "config.json").is_file():
            _require_files(place)
            return _whole(place)
    repository = name if is_hub_name else catalog.base_repository(last)
    if repository is None:
        looked = ", ".join(repr(str(place)) for place in places)
        raise ModelNotFoundError(
            f"{str(folder)!r} is an adapter on the base model {name!r}, which is not here: looked for {looked}. Put "
            f"the base's folder beside the adapter's as {last!r}, or name it in {ADAPTER_CONFIG}"
        )
    revision = catalog.BASES.get(repository) or named.get("revision")
    return _whole(_download(repository, revision, local_files_only=local_files_only, adapter=folder))


def _whole(base: Path) -> Path:
    if is_adapter(base):
        raise CheckpointError(f"the base model in {str(base)!r} is an adapter itself; merge it into its own base first")
    return base


def _packaged(name: str) -> Path:
    return Path(str(files("polylens"))) / "assets" / name


def _require_files(folder: Path) -> None:
    """Refuses an incomplete or wrong folder before anything is loaded from it. The error names the missing files."""
    if not folder.is_dir():
        raise ModelNotFoundError(f"{str(folder)!r} is a file; a model is the folder with config.json in it")
    wanted = [ADAPTER_WEIGHTS] if is_adapter(folder) else ["config.json"]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            wanted += sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{str(index)!r} is not an index of shards: {error!r}") from error
    if missing := [name for name in wanted if not (folder / name).is_file()]:
        found = sorted(path.name for path in folder.iterdir())[:8]
        raise CheckpointError(
            f"{str(folder)!r} lacks {', '.join(missing)}; found there: {', '.join(found) or 'nothing'}. "
            "A model's folder has config.json, preprocessor_config.json, tokenizer.json and its *.safetensors; an "
            f"adapter's has {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}."
        )


def _download(repository: str, revision: str | None, *, local_files_only: bool, adapter: Path | None = None) -> Path:
    """Returns the folder of a repository's files, which may be the base of an adapter in another folder."""
    # Imported here: it takes 0.3 s, and models that lie on the disk never need it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # What it remarks about each attempt that fails is in the error, too.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    # The hub's library moved from requests to httpx and on; whichever it is, HfHubHTTPError has the transport's base
    # class among its own. Its native downloader (hf_xet) reports a lost connection as a RuntimeError.
    transport_errors: tuple[Any, ...] = (*HfHubHTTPError.__bases__, OSError, RuntimeError)
    at = f"{repository!r} at revision {revision!r}" if revision else repr(repository)
    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(WANTED_FILES),
            local_files_only=local_files_only,
            library_name="polylens",
            tqdm_class=_progress_bar(),
        )
    except GatedRepoError as error:
        raise ModelNotFoundError(
            f"the hub does not let you read {repository!r}: accept its terms on its page there, "
            "then `hf auth login` (or set HF_TOKEN) and try again"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFoundError(f"the hub has no {at}; leave out the revision for the tested one") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelNotFoundError(
            f"the hub has no {at}, or it is private and you are not logged in (`hf auth login`). "
            f"Names polylens knows: {', '.join(catalog.known_names())}."
        ) from error
    except transport_errors as error:
        raise HubUnavailableError(_how_to_do_without(repository, revision, error, adapter)) from error
    _require_files(Path(folder))
    return Path(folder)


def _how_to_do_without(repository: str, revision: str | None, error: Exception, adapter: Path | None) -> str:
    cause = error.__cause__ or error
    reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
    at = f" --revision {revision}" if revision else ""
    if adapter is not None:
        last = repository.partition("/")[2]
        return (
            f"{str(adapter)!r} is an adapter on the base model {repository!r}, which is not on this machine and could "
            f"not be fetched ({reason}). Fetch the base where the hub can be reached, and put the two side by side:\n"
            f"    hf download {repository}{at} --local-dir FOLDER/{last}\n"
            "    and the adapter's files into another folder below FOLDER"
        )
    return (
        f"the weights of {repository!r} are not on this machine and could not be fetched ({reason}). "
        "Fetch them where the hub can be reached, copy the folder here, and pass it:\n"
        f"    hf download {repository}{at} --local-dir FOLDER\n"
        '    polylens.load("FOLDER")'
    )


def _progress_bar() -> Any:
    """Returns the hub's own progress bar, which is silent unless standard error is a terminal."""
    from huggingface_hub.utils.tqdm import tqdm

    class TerminalBar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            options["disable"] = bool(options.get("disable")) or not sys.stderr.isatty()
            super().__init__(*args, **options)  # type: ignore[no-untyped-call]

    return TerminalBar
