"""Every error that sspnerf raises on purpose.

SspnerfError                root: catch this
├── UsageError              asked for something impossible; exit code 2
├── ClipError               a clip is missing, damaged or of another version
├── MediaError              a video or a sound cannot be read or written
├── PortraitError           a portrait or a run cannot be loaded or resumed
├── TrainingError           learning went wrong and cannot go on
└── BackendError            a requested backend cannot run here
"""


class SspnerfError(Exception):
    """The root of the family: a message of one line, and a hint what to do.

    Attributes:
        hint: What to do next, one sentence; empty where nothing can be advised.
        exit_code: What the command line returns.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        """Keep the message and the hint apart, so that each can be shown on its own line."""
        super().__init__(message)
        self.hint = hint


class UsageError(SspnerfError):
    """The request itself cannot be met: a bad setting, a target that exists already."""

    exit_code = 2


class ClipError(SspnerfError):
    """A clip folder is missing, damaged, incomplete or of another schema version."""


class MediaError(SspnerfError):
    """A video or a sound file cannot be read or written, or holds no person."""


class PortraitError(SspnerfError):
    """A portrait or a run folder cannot be loaded or resumed."""


class TrainingError(SspnerfError):
    """Learning went wrong: the loss is no number any more."""


class BackendError(SspnerfError):
    """A backend was asked for by name and cannot run on this machine."""
