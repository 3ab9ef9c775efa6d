"""Every exception that polylens raises on purpose.

    PolylensError
    |-- InputError (ValueError)             an argument or an input cannot be used as it came
    |   |-- ImageError                      an image cannot be read; the message names which one
    |   `-- DocumentError                   a file cannot be turned into pages
    |-- ModelNotFoundError (LookupError)    no such name in the catalog and no such folder
    |-- HubUnavailableError (ConnectionError)  the weights are not here and the hub cannot be reached
    |-- CheckpointError (ValueError)        a checkpoint's tensors or files do not fit the model
    |-- LibraryNotFoundError (LookupError)  no index in this folder or above it
    |-- LibraryBusyError (RuntimeError)     another process is writing to this index
    `-- ModelMismatchError (ValueError)     the index was made with another model

    try:
        embedder.encode_image(paths)
    except polylens.errors.ImageError as error:
        ...  # error.index says which input

A message says what was wrong, what came, and what would do. `STATUS_AND_EXIT` is the one table that turns a class
into an HTTP status and a process exit code.
"""

from __future__ import annotations


class PolylensError(Exception):
    """Base of the tree: catch this to catch everything polylens raises on purpose."""


class InputError(PolylensError, ValueError):
    """An argument or an input cannot be used as it came."""


class ImageError(InputError):
    """An image cannot be read: truncated, empty, unsupported or absurdly large.

    Args:
        message: What was wrong with it.
        index: Position of the image among the inputs, from 0; None where there is only one.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message if index is None else f"image {index}: {message}")
        self.message = message
        self.index = index

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, int | None]]:
        return type(self), (self.message, self.index)


class DocumentError(InputError):
    """A file cannot be turned into pages: broken, protected by a password, or of an unknown kind."""


class ModelNotFoundError(PolylensError, LookupError):
    """No model of that name in the catalog, and no folder of that name either."""


class HubUnavailableError(PolylensError, ConnectionError):
    """The weights are not on this machine and the hub cannot be reached."""


class CheckpointError(PolylensError, ValueError):
    """A checkpoint's files or tensors do not fit the model; the message names them."""


class LibraryNotFoundError(PolylensError, LookupError):
    """Neither this folder nor one above it holds an index."""


class LibraryBusyError(PolylensError, RuntimeError):
    """Another process is writing to this index."""


class ModelMismatchError(PolylensError, ValueError):
    """The index holds vectors of another model; its vectors and yours cannot be compared."""


STATUS_AND_EXIT: dict[type[PolylensError], tuple[int, int]] = {
    PolylensError: (500, 1),
    InputError: (422, 2),
    ImageError: (422, 2),
    DocumentError: (422, 2),
    ModelNotFoundError: (404, 3),
    HubUnavailableError: (503, 4),
    CheckpointError: (500, 5),
    LibraryNotFoundError: (404, 6),
    LibraryBusyError: (409, 7),
    ModelMismatchError: (409, 8),
}
"""Class -> (HTTP status, exit code). Exit code 2 is also what a wrong command line gives."""


def http_status(error: PolylensError) -> int:
    """HTTP status for an error.

    Example:
        >>> http_status(ImageError("the file ends early", index=3))
        422
    """
    return STATUS_AND_EXIT[type(error)][0]


def exit_code(error: PolylensError) -> int:
    """Process exit code for an error, between 1 and 8."""
    return STATUS_AND_EXIT[type(error)][1]
