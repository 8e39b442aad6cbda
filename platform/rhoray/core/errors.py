"""One tree of errors: what a caller can mend says what was found and what was expected.

`InputRefused` and its children describe one density that can't be used: jobs quarantine it, the endpoint answers
with a problem document, and both take `code` as the stable name of the reason.
"""

from typing import ClassVar


class RhoRayError(Exception):
    """Base of every error that RhoRay raises on purpose; its text is fit for a user."""

    code: ClassVar[str] = "error"


class InputRefused(RhoRayError):
    """One input that can't become a prediction."""

    code: ClassVar[str] = "refused"


class UnknownFormat(InputRefused):
    """The bytes are of no format that RhoRay reads."""

    code: ClassVar[str] = "unknown-format"


class Unreadable(InputRefused):
    """The format is known, but the content breaks its rules: empty, truncated, garbled."""

    code: ClassVar[str] = "unreadable"


class Impossible(InputRefused):
    """The file reads, but no crystal has such a density: no charge, NaN, a singular lattice."""

    code: ClassVar[str] = "impossible"


class TooLarge(InputRefused):
    """The input exceeds a configured limit, before or after decompression."""

    code: ClassVar[str] = "too-large"


class Unavailable(InputRefused):
    """The storage would not give this object; another run asks for it again."""

    code: ClassVar[str] = "unavailable"


class NotConverged(InputRefused):
    """A calculation did not reach self-consistency, after every attempt."""

    code: ClassVar[str] = "not-converged"


class StorageDown(RhoRayError):
    """The storage answers nobody, after all retries: nothing is wrong with any one object."""

    code: ClassVar[str] = "storage-down"


class DatasetError(RhoRayError):
    """A dataset is absent, incomplete, or not what its manifest says."""

    code: ClassVar[str] = "dataset"


class LabelError(RhoRayError):
    """A label table lacks a column, repeats an id, or holds values outside their physical range."""

    code: ClassVar[str] = "labels"


class RunError(RhoRayError):
    """A training run can't begin, go on or be kept where it was told to."""

    code: ClassVar[str] = "run"


class BundleError(RhoRayError):
    """A bundle is absent, altered, or made by an incompatible version."""

    code: ClassVar[str] = "bundle"


class ResourceError(RhoRayError):
    """The cluster can't run what was asked for."""

    code: ClassVar[str] = "resources"
