"""`parakh`: the group of verbs, and what becomes of an error on its way to the terminal.

A verb's module is imported when the verb is called, so that `parakh --help` and `parakh check` start at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from parakh import __version__
from parakh.cli.console import Console, bold, clean, dim, red
from parakh.errors import InputError, ParakhError, ProjectError

__all__ = ["FOUND_PROBLEMS", "INTERNAL_ERROR", "OK", "WRONG_USE", "cli", "main"]

OK = 0
FOUND_PROBLEMS = 1
WRONG_USE = 2
INTERNAL_ERROR = 70  # EX_SOFTWARE: a mistake of ours, never of the user's
INTERRUPTED = 130
PIPE_CLOSED = 141


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of the command line: the module that has its `command`, and its line in the list of verbs."""

    module: str
    help: str


VERBS = {
    "init": Verb("init", "Begin a project: a runnable card-payments example in a new folder."),
    "check": Verb("check", "Check a project; show every mistake with its place and a hint."),
    "fmt": Verb("fmt", "Bring a project's files into one form; comments stay."),
    "test": Verb("test", "Run the tests that stand inside the rules."),
    "diff": Verb("diff", "What a change does to rules, features and - on past events - outcomes."),
    "simulate": Verb("simulate", "Make up a fintech's events, with frauds whose truth is known."),
    "replay": Verb("replay", "Decide on past events from files, exactly as live."),
    "backtest": Verb("backtest", "What a policy would have done to past events, and what each rule is for."),
    "label": Verb("label", "What events turned out to be: say, send a file, check, look up."),
    "dataset": Verb("dataset", "A training set from past events, with features exactly as live."),
    "train": Verb("train", "Models from a training set, each with a card."),
    "suggest": Verb("suggest", "Rules that past events suggest, in shadow until a person accepts them."),
    "learn": Verb("learn", "The loop: a challenger and rules from new labels, for people to promote."),
    "drift": Verb("drift", "What has changed: inputs, scores, rules, labels, volume; alarms beyond chance."),
    "models": Verb("models", "The versions of a project's models, and which of them decides."),
    "promote": Verb("promote", "Move a version of a model on: into shadow, to champion, back."),
    "tune": Verb("tune", "Score thresholds that lose least under what people can review."),
    "anomalies": Verb("anomalies", "Which segment left its own history, and when; without labels."),
    "explain": Verb("explain", "One decision in words: windows, features, rules, score."),
    "secrets": Verb("secrets", "The keys that protect personal data: which they are, and a new one."),
    "key": Verb("key", "The API keys of a service: make, list, revoke."),
    "webhook": Verb("webhook", "Who is told of decisions: subscribe a URL, list, send again."),
    "top": Verb("top", "A running server, live in the terminal: speed, outcomes, latencies, state."),
    "serve": Verb("serve", "Decide on events over HTTP, live."),
    "apply": Verb("apply", "Let a running server decide by a project, without dropping a request."),
    "versions": Verb("versions", "The versions by which a server decided, and the way back."),
    "backup": Verb("backup", "Copy a service's data while it decides."),
    "restore": Verb("restore", "Bring a backup back, and prove it."),
    "log": Verb("log", "Check a service's log."),
    "demo": Verb("demo", "See it all: simulate, decide live, change a rule, compare."),
}


class Verbs(click.Group):
    """A group that knows its verbs by name and imports only the one that is called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        verb = VERBS.get(name)
        if verb is None:
            return None
        command: click.Command = importlib.import_module(f"parakh.cli.{verb.module}").command
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; verbs are {', '.join(VERBS)}"
            raise click.UsageError(f"there is no verb {args[0]!r}{hint}", context)
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nBegin with\n  parakh demo\n  parakh init shop && cd shop && parakh check && parakh test\n\n"
    "Exit codes: 0 all is well, 1 problems were found, 2 the command was used wrongly.",
)
@click.version_option(__version__, "-V", "--version", prog_name="parakh", message="%(prog)s %(version)s")
def cli() -> None:
    """Every event put to the test as it arrives, and decided on - allow, challenge, review or block - with reasons."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; what goes wrong is told on stderr, and the exit code returned. Never a traceback."""
    error_console = Console.stderr()
    try:
        given = list(arguments) if arguments is not None else None
        code = cli.main(args=given, prog_name="parakh", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error_console.print(error.format_message())
        return WRONG_USE
    except click.UsageError as error:
        _show_usage_error(error, error_console)
        return WRONG_USE
    except click.ClickException as error:
        error_console.print(f"{red('error:')} {clean(error.format_message())}")
        return WRONG_USE
    except (click.Abort, KeyboardInterrupt):
        error_console.print(dim("\nstopped"))
        return INTERRUPTED
    except ProjectError as error:
        from parakh.cli.problems import show_problems

        show_problems(error.problems, error_console)
        return FOUND_PROBLEMS
    except ParakhError as error:
        error_console.print(f"{red('error:')} {clean(str(error))}")
        return WRONG_USE if isinstance(error, InputError) else FOUND_PROBLEMS
    except BrokenPipeError:
        # The reader has left (`parakh replay ... | head`). Python flushes stdout once more at exit: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        error_console.print(f"{red('error:')} {clean(f'{where}{error.strerror or error}')}")
        return FOUND_PROBLEMS
    except Exception as error:
        if os.environ.get("PARAKH_DEBUG"):
            raise
        error_console.print(
            f"{red('internal error:')} {clean(f'{type(error).__name__}: {error}')}\n"
            f"{dim('This is a mistake in Parakh, not in your files. PARAKH_DEBUG=1 shows where it happened.')}"
        )
        return INTERNAL_ERROR


def _show_usage_error(error: click.UsageError, console: Console) -> None:
    console.print(f"{red('wrong use:')} {clean(error.format_message())}")
    if error.ctx is not None:
        usage = error.ctx.get_usage().removeprefix("Usage: ")
        console.print(f"{dim('usage:')} {usage}", f"{dim('help: ')} {bold(error.ctx.command_path + ' --help')}")
