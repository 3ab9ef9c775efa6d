"""A process that runs commands of polylens, each in a fork of its own.

python -m tests.support.forking

It reads one JSON object per line: `arguments`, `cwd`, `environment`, and the files that are the command's `stdin`,
`stdout` and `stderr`; with `code` it runs that Python instead of a command. It prints the process id. To `{"poll": ID}`
it prints the exit status, null while the command runs. A fork of a process that has imported torch and LanceDB starts
in milliseconds instead of four seconds. Commands that start from nothing are tested elsewhere.
"""

import importlib
import json
import os
import sys
import traceback
import warnings
from typing import Any

# Not huggingface_hub, which reads the environment when it is imported.
PRELOADED = (
    *("numpy", "PIL.Image", "torch", "lancedb", "pyarrow", "tokenizers", "safetensors", "lxml.html", "pypdfium2"),
    *("starlette.applications", "uvicorn", "pydantic", "pydantic_settings", "orjson", "prometheus_client", "httpcore2"),
    *("polylens.cli", "polylens.runtime.embedder", "polylens.library.library", "polylens.index.search"),
    *("polylens.index.table.store", "polylens.models.family", "polylens.library.watch", "polylens.library.doctor"),
)


def run(job: dict[str, Any]) -> int:
    """Runs a command, or a piece of Python, in this process; returns its exit status."""
    from polylens.cli import main

    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["environment"])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        file = os.open(job[name], os.O_WRONLY if number else os.O_RDONLY)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.argv = ["-c" if job["code"] else "polylens", *job["arguments"]]
    if job["environment"].get("PYTHONWARNINGS") == "error":
        warnings.simplefilter("error")
    try:
        if job["code"]:
            sys.path.insert(0, "")  # as the interpreter does
            exec(compile(job["code"], "<string>", "exec"), {"__name__": "__main__"})
        else:
            main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    for module in PRELOADED:
        importlib.import_module(module)
    warnings.filterwarnings("ignore", message="lancedb fork support is experimental")
    for line in sys.stdin:
        job = json.loads(line)
        if "poll" in job:
            ended, status = os.waitpid(job["poll"], os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if ended else None), flush=True)
        elif child := os.fork():
            print(child, flush=True)
        else:
            status = 1
            try:
                status = run(job)
            finally:
                os._exit(status)
