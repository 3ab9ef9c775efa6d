"""Every exception that polylens raises on purpose.

    PolylensError
    |-- InputError (ValueError)             an argument or an input is not usable
    |   |-- ImageError                      an image cannot be read; the message says which one
    |   |-- DocumentError                   a file cannot be turned into pages
    |   |-- FieldError                      a field of a request is not usable
    |   |   `-- TokenLimitError             a text of a request has more tokens than it may have
    |   |-- LabelError                      a classifier gets too few or too many labels
    |   `-- TooLargeError                   a request exceeds one of the server's limits
    |-- ModelNotFoundError (LookupError)    neither the catalog nor the disk has this name
    |-- HubUnavailableError (ConnectionError)  the weights are not on disk and the hub is unreachable
    |-- CheckpointError (ValueError)        a checkpoint's files or tensors do not fit the model
    |-- LibraryNotFoundError (LookupError)  no index in this folder or in one above it
    |-- LibraryBusyError (RuntimeError)     another process makes this index anew
    |-- StorageError (OSError)              the disk of an index is full, read-only or failing
    |   `-- StorageUnavailableError         the object storage of an index is unreachable or refuses
    |-- ModelMismatchError (ValueError)     the index holds vectors of another model
    |-- UnauthorizedError (PermissionError)  a request has no valid API key
    |-- NotFoundError (LookupError)         the server has nothing of this name
    |-- BusyError (RuntimeError)            another request is changing the same thing
    |-- RateLimitError (RuntimeError)       an API key has reached its rate limit
    |-- OverloadedError (RuntimeError)      the server has too much work, or is not ready
    |-- DeadlineError (TimeoutError)        a request could not be answered in time
    `-- WorkerError (RuntimeError)          the model failed on an input, or its process died

    try:
        embedder.encode_image(paths)
    except polylens.errors.ImageError as error:
        ...  # error.index says which input

A message says what was wrong, which value came and which would work. `STATUS_AND_EXIT` is the one table that maps a
class to an HTTP status, a process exit code and the error code in the body of an HTTP response.
"""

from __future__ import annotations


class PolylensError(Exception):
    """The base class: catch it to catch every exception that polylens raises on purpose."""


class InputError(PolylensError, ValueError):
    """An argument or an input is not usable; the message says what would be."""


class ImageError(InputError):
    """An image cannot be read: it is truncated, empty, unsupported or far too large.

    Args:
        message: What is wrong with the image.
        index: Position of the image among the inputs, from 0; None if there is only one.
        name: What the image is: "image", or its side of a pair, "query" or "document".
    """

    def __init__(self, message: str, index: int | None = None, name: str = "image") -> None:
        place = [] if index is None and name == "image" else [name if index is None else f"{name} {index}"]
        super().__init__(": ".join([*place, message]))
        self.message = message
        self.index = index
        self.name = name

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, int | None, str]]:
        return type(self), (self.message, self.index, self.name)


class DocumentError(InputError):
    """A file cannot be turned into pages: it is broken, protected by a password, or of an unknown kind."""


class FieldError(InputError):
    """A field of a request to the server is missing or not usable.

    Args:
        message: What is wrong with the field.
        field: Path of the field, such as `input.3.image`; "" for the request as a whole.
        value: The value that came.
        kind: Short name of the error.
    """

    def __init__(self, message: str, field: str = "", value: object = None, kind: str = "value_error") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.message, self.field, self.value, self.kind = message, field, value, kind

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str, object, str]]:
        return type(self), (self.message, self.field, self.value, self.kind)


class TokenLimitError(FieldError):
    """A text of a request has more tokens than it may have, and the request does not want it cut."""


class LabelError(InputError):
    """A classifier gets too few or too many labels."""


class TooLargeError(InputError):
    """A request exceeds one of the server's limits: bytes, inputs, tokens, pixels or pages."""


class ModelNotFoundError(PolylensError, LookupError):
    """Neither the catalog nor the disk has a model of this name."""


class HubUnavailableError(PolylensError, ConnectionError):
    """The weights are not on this machine and the hub cannot be reached."""


class CheckpointError(PolylensError, ValueError):
    """The files or tensors of a checkpoint do not fit the model; the message names them."""


class LibraryNotFoundError(PolylensError, LookupError):
    """Neither this folder nor one above it has an index."""


class LibraryBusyError(PolylensError, RuntimeError):
    """Another process makes this index anew, or so many write to it that commits fail."""


class StorageError(PolylensError, OSError):
    """An index could not be written: its disk is full, over a quota, read-only or failing."""


class StorageUnavailableError(StorageError):
    """The object storage of an index cannot be reached, or refuses the request: no such bucket, no credentials."""


class ModelMismatchError(PolylensError, ValueError):
    """The index holds vectors of another model, which cannot be compared with those of this one."""


class UnauthorizedError(PolylensError, PermissionError):
    """A request has no valid API key.

    Args:
        message: What is missing or wrong.
        code: Error code in the body of the HTTP response.
    """

    def __init__(self, message: str, code: str = "AUTH_INVALID_API_KEY") -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[UnauthorizedError], tuple[str, str]]:
        return type(self), (str(self), self.code)


class NotFoundError(PolylensError, LookupError):
    """The server has nothing of this name, or nothing that this API key may use."""


class BusyError(PolylensError, RuntimeError):
    """Another request is changing the same thing."""


class RateLimitError(PolylensError, RuntimeError):
    """An API key has reached its rate limit.

    Args:
        message: Which limit, and how much of it was used.
        retry_after: Seconds to wait before the next attempt.
        code: Error code in the body of the HTTP response.
    """

    def __init__(self, message: str, retry_after: float = 1.0, code: str = "RATE_REQUEST_LIMIT_EXCEEDED") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.code = code

    def __reduce__(self) -> tuple[type[RateLimitError], tuple[str, float, str]]:
        return type(self), (str(self), self.retry_after, self.code)


class OverloadedError(PolylensError, RuntimeError):
    """The server has more work than it can do in time, or is not ready.

    Args:
        message: Why it cannot answer now.
        retry_after: Seconds to wait before the next attempt.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[OverloadedError], tuple[str, float]]:
        return type(self), (str(self), self.retry_after)


class DeadlineError(PolylensError, TimeoutError):
    """A request could not be answered within its time limit."""


class WorkerError(PolylensError, RuntimeError):
    """The model failed on an input, or its process died of it; other inputs are not affected."""


STATUS_AND_EXIT: dict[type[PolylensError], tuple[int, int, str]] = {
    PolylensError: (500, 1, "INTERNAL_ERROR"),
    InputError: (422, 2, "INPUT_INVALID"),
    ImageError: (422, 2, "INPUT_INVALID_IMAGE"),
    DocumentError: (422, 2, "INPUT_INVALID_DOCUMENT"),
    FieldError: (422, 2, "INPUT_INVALID"),
    TokenLimitError: (400, 2, "INPUT_TOKEN_LIMIT_EXCEEDED"),
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
"""Class -> (HTTP status, exit code, error code in the body of an HTTP response). A wrong command line exits with 2.
The error codes are those of the published API where it has one."""


def http_status(error: PolylensError) -> int:
    """Returns the HTTP status of an error.

    Example:
        >>> http_status(ImageError("the file ends early", index=3))
        422
    """
    return STATUS_AND_EXIT[type(error)][0]


def exit_code(error: PolylensError) -> int:
    """Returns the process exit code of an error, between 1 and 17."""
    return STATUS_AND_EXIT[type(error)][1]


def wire_code(error: PolylensError) -> str:
    """Returns the error code that stands in the body of an HTTP response.

    Example:
        >>> wire_code(DeadlineError("no answer within 60 s"))
        'SERVICE_TIMEOUT'
    """
    return getattr(error, "code", STATUS_AND_EXIT[type(error)][2])
