"""The errors and warnings a caller may want to catch by name; everything else is built in."""


class NoisySelectError(Exception):
    """Base of every error that is noisyselect's own."""


class MissingEvidenceError(NoisySelectError, ValueError):
    """The log lacks something the selector reads: a column, or enough epochs."""


class MissingDependencyError(NoisySelectError, ImportError):
    """A package is not installed that comes with an optional extra."""


class DamagedRunError(NoisySelectError, ValueError):
    """A run directory is truncated, altered, foreign or of another version."""


class MeetingError(NoisySelectError, RuntimeError):
    """A rank of a distributed job ended, or let the others wait for too long."""


class NonFiniteLossError(NoisySelectError, FloatingPointError):
    """A training step produced a loss that is NaN or infinite."""


class NoisySelectWarning(UserWarning):
    """Base of every warning that is noisyselect's own."""


class DegenerateWarning(NoisySelectWarning):
    """The evidence cannot tell clean from wrong; the documented answer was given instead."""


class NonFiniteWarning(NoisySelectWarning):
    """Losses are NaN or infinite; the samples concerned are never selected."""
