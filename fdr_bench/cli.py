"""The command line: parse arguments, call one function, print one result.

Heavy modules are imported inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from fdr_bench import cli_options as options
from fdr_bench.cli_catalogue import data, list_, new_detector, selftest, show, train
from fdr_bench.cli_check import check, compare, pack
from fdr_bench.cli_judge import judge
from fdr_bench.cli_published import check_published
from fdr_bench.cli_robustness import consistency, robustness
from fdr_bench.cli_run import report, resume, run, score
from fdr_bench.errors import FDRBenchError


def main() -> None:
    """Run the command line; the only place where errors with a message are caught."""
    try:
        code = cli.main(prog_name="fdr-bench", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except FDRBenchError as error:
        click.echo(f"fdr-bench: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(max(2, error.exit_code))
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nfdr-bench: stopped. What is done is kept; the same command again goes on from there.", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as 'head', has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="fdr-bench")
def cli() -> None:
    """Evaluate detectors of AI-generated images, and models that explain why an image is fake.

    \b
    Examples:
      fdr-bench run --models all                                the embedded benchmark, every detector
      fdr-bench run --models cnndetection,npr --data folders:photos
      fdr-bench predict photo.jpg --models npr
      fdr-bench list models
    """


@click.command()
@click.argument("paths", type=options.PATH, nargs=-1, required=True)
@options.MODELS
@click.option("--preset", help="Preset of every model [default: official where its weights are here, else scenes].")
@options.WEIGHTS
@options.PLUGINS
@options.families
@options.DEVICE
@options.JSON
def predict(
    paths: tuple[Path, ...],
    models: str | None,
    preset: str | None,
    weights: dict[str, str],
    plugin_files: tuple[str, ...],
    device: str,
    as_json: bool,
) -> int:
    """Score images without labels: files, or folders with all the images beneath them.

    \b
    Examples:
      fdr-bench predict photo.jpg --models npr
      fdr-bench predict photo.jpg folder/ --models cnndetection --weights cnndetection=weights/mine --json
      fdr-bench predict photo.jpg --models openai:gpt-4o@staged
    """
    from fdr_bench.predicting import predict_paths, print_answers

    asked = options.names(models, plugin_files)
    answers = predict_paths(
        paths,
        asked,
        preset=preset,
        brought=weights,
        files=plugin_files,
        device=device,
        options=options.of_families(),
    )
    return 1 if print_answers(answers, as_json) else 0


RUNS = (run, resume, score, judge, consistency, robustness, report, compare, check, check_published, pack, predict)
CATALOGUE = (list_, show, data, train, selftest, new_detector)
for command in (*RUNS, *CATALOGUE):
    cli.add_command(command)
