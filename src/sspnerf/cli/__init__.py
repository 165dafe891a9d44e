"""The command line: one module per verb. Prints results, turns errors into exit codes.

Results go to stdout, progress to stderr. Stages are imported inside the functions, so that help is
instant.
"""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import tyro

from sspnerf.cli.ablate import ablate
from sspnerf.cli.evaluate import evaluate
from sspnerf.cli.exchange import export, import_
from sspnerf.cli.info import info
from sspnerf.cli.prepare import prepare
from sspnerf.cli.render import render
from sspnerf.cli.synth import synth
from sspnerf.cli.train import train, train_with_base
from sspnerf.console import err, say
from sspnerf.errors import SspnerfError, UsageError

DESCRIPTION = (
    "Learn one person's talking portrait from a short video, then let it speak any recording. "
    "`sspnerf --debug VERB ...` shows the whole traceback of an error."
)
INTERRUPTED = 130

VERBS: dict[str, Callable[..., None]] = {
    "synth": synth,
    "prepare": prepare,
    "train": train,
    "render": render,
    "evaluate": evaluate,
    "ablate": ablate,
    "import": import_,
    "export": export,
    "info": info,
}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command line and exit: 0 done, 1 our error, 2 wrong usage, 130 interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Threads that wait busily for long slow each other down as soon as another program does the
    # same, and threads that sleep wake up late: one training alone took 114 ms a step with 1000
    # turns, 82 ms with 5000 and 81 ms with 20000; beside another, 260 ms with 5000.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    debug = arguments[:1] == ["--debug"]
    arguments = arguments[debug:]
    try:
        verbs = dict(VERBS)
        if arguments[:1] == ["train"]:
            verbs["train"], arguments = train_with_base(arguments)
        tyro.extras.subcommand_cli_from_dict(
            verbs, prog="sspnerf", description=DESCRIPTION, args=arguments
        )
    except (SspnerfError, OSError) as error:
        if debug:
            raise
        known = error if isinstance(error, SspnerfError) else _as_ours(error)
        say(known)
        sys.exit(known.exit_code)
    except ValueError as error:
        if debug or not _is_of_settings(error):
            raise
        say(UsageError(str(error)))
        sys.exit(UsageError.exit_code)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _is_of_settings(error: ValueError) -> bool:
    """Say whether the settings themselves refused a value, and nothing has been started."""
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return raised_in.parent == Path(__file__).parents[1] / "config"


def _as_ours(error: OSError) -> SspnerfError:
    """Say what the operating system refused: no permission, no space, no such folder."""
    where = f" {error.filename}" if error.filename else ""
    return SspnerfError(f"cannot read or write{where}: {error.strerror or error}")
