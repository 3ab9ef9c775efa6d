"""Every exception that polylens raises on purpose.

    PolylensError
    |-- InputError (ValueError)             an argument or an input cannot be used as it came
    |   |-- ImageError                      an image cannot be read; the message names which one
    |   |-- DocumentError                   a file cannot be turned into pages
    |   |-- FieldError                      a field of a request cannot be used as it came
    |   |-- LabelError                      too few or too many labels to classify by
    |   `-- TooLargeError                   a request is longer, or has more in it, than the server takes
    |-- ModelNotFoundError (LookupError)    no such name in the catalog and no such folder
    |-- HubUnavailableError (ConnectionError)  the weights are not here and the hub cannot be reached
    |-- CheckpointError (ValueError)        a checkpoint's tensors or files do not fit the model
    |-- LibraryNotFoundError (LookupError)  no index in this folder or above it
    |-- LibraryBusyError (RuntimeError)     another process is writing to this index
    |-- StorageError (OSError)              the disk of an index is full or failing
    |   `-- StorageUnavailableError         the object storage of an index cannot be reached, or refuses
    |-- ModelMismatchError (ValueError)     the index was made with another model
    |-- UnauthorizedError (PermissionError)  a request came without a key that the server knows
    |-- NotFoundError (LookupError)         the server has nothing of that name
    |-- BusyError (RuntimeError)            what is asked for is being changed by another request
    |-- RateLimitError (RuntimeError)       a key has used up what it may send for now
    |-- OverloadedError (RuntimeError)      the server has more to do than it can do in time
    |-- DeadlineError (TimeoutError)        an answer would have taken too long
    `-- WorkerError (RuntimeError)          an input brought the model down, or the model failed on it

    try:
        embedder.encode_image(paths)
    except polylens.errors.ImageError as error:
        ...  # error.index says which input

A message says what was wrong, what came, and what would do. `STATUS_AND_EXIT` is the one table that turns a class
into an HTTP status, a process exit code and the code that a body of the HTTP interface names.
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


class FieldError(InputError):
    """A field of a request to the server is missing, or cannot be used as it came.

    Args:
        message: What is wrong with it.
        field: Its path, such as `input.3.image`; "" for the request as a whole.
        value: What came.
        kind: A short name of the error.
    """

    def __init__(self, message: str, field: str = "", value: object = None, kind: str = "value_error") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.message, self.field, self.value, self.kind = message, field, value, kind

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str, object, str]]:
        return type(self), (self.message, self.field, self.value, self.kind)


class LabelError(InputError):
    """There are too few or too many labels to classify by."""


class TooLargeError(InputError):
    """A request is longer, or has more inputs, tokens, pixels or pages in it, than the server takes."""


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


class StorageError(PolylensError, OSError):
    """What was to be written to an index found no place on its disk: full, over a quota, read-only, or failing."""


class StorageUnavailableError(StorageError):
    """The object storage that an index lies on cannot be reached, or refuses: no such bucket, no credentials."""


class ModelMismatchError(PolylensError, ValueError):
    """The index holds vectors of another model; its vectors and yours cannot be compared."""


class UnauthorizedError(PolylensError, PermissionError):
    """A request came without a key that the server knows.

    Args:
        message: What was missing or wrong.
        code: The published name of the reason.
    """

    def __init__(self, message: str, code: str = "AUTH_INVALID_API_KEY") -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[UnauthorizedError], tuple[str, str]]:
        return type(self), (str(self), self.code)


class NotFoundError(PolylensError, LookupError):
    """The server has nothing of that name, or not for this key."""


class BusyError(PolylensError, RuntimeError):
    """What is asked for is being changed by another request."""


class RateLimitError(PolylensError, RuntimeError):
    """A key has used up what it may send for now.

    Args:
        message: Which limit, and how much of it was used.
        retry_after: Seconds after which it is worth trying again.
        code: The published name of the limit.
    """

    def __init__(self, message: str, retry_after: float = 1.0, code: str = "RATE_REQUEST_LIMIT_EXCEEDED") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.code = code

    def __reduce__(self) -> tuple[type[RateLimitError], tuple[str, float, str]]:
        return type(self), (str(self), self.retry_after, self.code)


class OverloadedError(PolylensError, RuntimeError):
    """The server has more to do than it can do in time, or is not ready.

    Args:
        message: What it is doing instead.
        retry_after: Seconds after which it is worth trying again.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[OverloadedError], tuple[str, float]]:
        return type(self), (str(self), self.retry_after)


class DeadlineError(PolylensError, TimeoutError):
    """An answer would have taken longer than a request may."""


class WorkerError(PolylensError, RuntimeError):
    """An input brought the model's process down, or the model failed on it; other inputs are not affected."""


STATUS_AND_EXIT: dict[type[PolylensError], tuple[int, int, str]] = {
    PolylensError: (500, 1, "INTERNAL_ERROR"),
    InputError: (422, 2, "INPUT_INVALID"),
    ImageError: (422, 2, "INPUT_INVALID_IMAGE"),
    DocumentError: (422, 2, "INPUT_INVALID_DOCUMENT"),
    FieldError: (422, 2, "INPUT_INVALID"),
    LabelError: (400, 2, "INPUT_INVALID_LABELS"),
    TooLargeError: (413, 2, "INPUT_TOO_LARGE"),
    ModelNotFoundError: (400, 3, "INPUT_MODEL_NOT_FOUND"),
    HubUnavailableError: (503, 4, "SERVICE_UNAVAILABLE"),
    CheckpointError: (500, 5, "INTERNAL_ERROR"),
    LibraryNotFoundError: (404, 6, "RESOURCE_NOT_FOUND"),
    LibraryBusyError: (409, 7, "CONFLICT_RESOURCE_BUSY"),
    ModelMismatchError: (409, 8, "CONFLICT_MODEL_MISMATCH"),
    UnauthorizedError: (401, 9, "AUTH_INVALID_API_KEY"),
    NotFoundError: (404, 10, "RESOURCE_NOT_FOUND"),
    BusyError: (409, 11, "CONFLICT_RESOURCE_BUSY"),
    RateLimitError: (429, 12, "RATE_REQUEST_LIMIT_EXCEEDED"),
    OverloadedError: (503, 13, "SERVICE_UNAVAILABLE"),
    DeadlineError: (504, 14, "SERVICE_TIMEOUT"),
    WorkerError: (500, 15, "INTERNAL_ERROR"),
    StorageError: (507, 16, "SERVICE_STORAGE_FULL"),
    StorageUnavailableError: (503, 17, "SERVICE_UNAVAILABLE"),
}
"""Class -> (HTTP status, exit code, code in the body of an HTTP answer). Exit code 2 is also what a wrong command line
gives. The codes are those that the published interface has; the others are ours."""


def http_status(error: PolylensError) -> int:
    """HTTP status for an error.

    Example:
        >>> http_status(ImageError("the file ends early", index=3))
        422
    """
    return STATUS_AND_EXIT[type(error)][0]


def exit_code(error: PolylensError) -> int:
    """Process exit code for an error, between 1 and 17."""
    return STATUS_AND_EXIT[type(error)][1]


def wire_code(error: PolylensError) -> str:
    """The code that names an error in the body of an HTTP answer.

    Example:
        >>> wire_code(DeadlineError("no answer within 60 s"))
        'SERVICE_TIMEOUT'
    """
    return getattr(error, "code", STATUS_AND_EXIT[type(error)][2])
