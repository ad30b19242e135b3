"""The command line: one file a command; a command parses, calls the library, renders.

Exit codes: 0 done, 1 the machine lacks something, 2 the input does not fit, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from ellora_trust.cli import (
    attribute,
    cache,
    compare,
    explain,
    generate,
    interrupted,
    models,
    probe,
    probe_score,
    sandbox,
    serve,
    show,
    steer,
    tasks,
    testbed,
    unlearn,
)

app = typer.Typer(
    name="ellora-trust",
    cls=interrupted.Interruptible,
    help="Find out when a code LLM is wrong, why, and repair it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def everywhere(
    context: typer.Context,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no remarks on standard error; warnings stay.")
    ] = False,
) -> None:
    """Find out when a code LLM is wrong, why, and repair it."""
    from ellora_trust.quiet import hush

    if quiet:
        context.with_resource(hush())


app.add_typer(probe.app, name="probe")
probe.app.command("score")(probe_score.score)
app.add_typer(attribute.app, name="attribute")
app.add_typer(steer.app, name="steer")
app.add_typer(unlearn.app, name="unlearn")
app.add_typer(compare.app, name="compare")
app.command("explain")(explain.explain)
app.command("generate")(generate.generate)
app.command("serve")(serve.serve)
app.add_typer(models.app, name="models")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(cache.app, name="cache")
app.command("show")(show.show)
app.command("tasks")(tasks.tasks)
app.add_typer(testbed.app, name="testbed")


def main() -> None:
    """Run the command line; what a user can mend is one sentence and no traceback."""
    from ellora_trust.errors import InputError

    try:
        try:
            app()
        finally:
            # What is still in the buffer is refused here, and not without a sentence when the interpreter ends.
            sys.stdout.flush()
    except InputError as error:
        print(f"ellora-trust: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (interrupted.Interrupted, KeyboardInterrupt):
        print(f"ellora-trust: {interrupted.sentence(sys.argv[1:])}", file=sys.stderr)
        sys.exit(interrupted.EXIT_CODE)
    except BrokenPipeError:
        # The reader of our output has left; nothing more to say to it.
        _drop_output()
        sys.exit(1)
    except OSError as error:
        sentence = _refused(error)
        if sentence is None:
            raise
        if error.filename is None:
            _drop_output()
        print(f"ellora-trust: {sentence}", file=sys.stderr)
        sys.exit(1)


def _drop_output() -> None:
    """Let what nobody can take go nowhere; the interpreter would try again at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refused(error: OSError) -> str | None:
    """What the operating system refuses, wherever it is asked first; None for what is a bug of ours."""
    from ellora_trust.cachedir import REFUSALS

    if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "cannot write the output: the disk is full"
    if error.filename is None or error.errno not in REFUSALS:
        return None
    denied = "permission is denied; choose another file or folder"
    reason = denied if isinstance(error, PermissionError) else REFUSALS[error.errno]
    return f"cannot use {error.filename}: {reason}"
