"""The command line: one file a verb; each calls `visiontasks.api` and is imported when it is used."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from typing import Final, NoReturn

import click

from visiontasks import __version__
from visiontasks.errors import UsageError, VisionTasksError, unknown_name

VERBS: Final = {  # verb -> (module, one line for the overview)
    "detect": ("detect", "Find things on pictures: boxes."),
    "segment": ("segment", "Say what each pixel of pictures shows: masks."),
    "classify": ("classify", "Say what is on pictures."),
    "train": ("train", "Train a model from a config."),
    "evaluate": ("evaluate", "Measure a model, or files of predictions, against the truth."),
    "inspect": ("inspect", "Layer table of a backbone or model: sizes, parameters, receptive fields."),
    "explain": ("explain", "See what a network looks at, and what it has learned."),
    "attack": ("attack", "How little it takes to fool a model: pictures, and curves."),
    "dream": ("dream", "Change a picture so that a network sees more in it what it sees there."),
    "stylize": ("stylize", "Paint one picture in the style of another."),
    "data": ("data", "Make and look after data sets."),
    "models": ("models", "What is bundled, what can be had."),
    "doctor": ("doctor", "Versions, device, precision, what is missing."),
}


class Verbs(click.Group):
    """Imports a verb when it is called, so that `--help` is quick and a verb pays only for itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"visiontasks.cli.{VERBS[cmd_name][0]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS:
            raise UsageError(unknown_name("command", args[0], VERBS))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except (BrokenPipeError, SystemExit) as error:  # click and rich make an exit with 1 of it
            fault = error if isinstance(error, BrokenPipeError) else error.__context__
            if not isinstance(fault, BrokenPipeError):
                raise
            # whoever read our output went away (`| head`)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)
        return code

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="visiontasks")
def visiontasks() -> None:
    """Computer-vision task pipelines on one shared CNN backbone.

    \b
    visiontasks classify photo.jpg              what is on it?
    visiontasks data sample shapes              draw a small data set to train on
    visiontasks train shapes/classification.yaml
    visiontasks evaluate runs/classification/shapes --split test
    """


def main() -> NoReturn:
    """Run the command line; an error of the user's becomes one line on stderr and its exit code."""
    try:
        code = visiontasks(prog_name="visiontasks", standalone_mode=False)
    except VisionTasksError as error:
        for line in str(error).splitlines():
            click.echo(f"visiontasks: {line}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        command = "visiontasks" if error.ctx is None else error.ctx.command_path
        message = error.format_message().rstrip(".")
        click.echo(f"visiontasks: {message[0].lower()}{message[1:]}; see {command} --help", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("visiontasks: stopped", err=True)
        sys.exit(128 + signal.SIGINT)
    except Exception:  # a fault of ours: 1 would say that some inputs were skipped
        traceback.print_exc()
        sys.exit(4)
    sys.exit(code if isinstance(code, int) else 0)
