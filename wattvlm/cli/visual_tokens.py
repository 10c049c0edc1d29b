"""`wattvlm visual-tokens`: how many visual tokens a picture becomes, from a model's configuration alone."""

from __future__ import annotations

import click

from wattvlm.cli._options import sizes


@click.command("visual-tokens")
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG...")
@click.option("--resolution", default="", metavar="WxH,...", help="Pixels of the picture (default: nine usual sizes).")
@click.option("--json", "output_format", flag_value="json", default=None, help="The table as JSON.")
@click.option("--markdown", "output_format", flag_value="markdown", default=None, help="As Markdown.")
@click.option("--latex", "output_format", flag_value="latex", default=None, help="As LaTeX (booktabs).")
def command(configs: tuple[str, ...], resolution: str, output_format: str | None) -> None:
    """Count the visual tokens of one picture, by its size.

    CONFIG is a folder with config.json (and preprocessor_config.json) as on the hub, a config.json, or the name of a
    published model that `wattvlm bench --config` knows. Nothing is loaded and nothing is measured.

    Exit codes: 0 counted, 2 usage, such as a file that is no configuration.
    """
    from wattvlm.errors import WattvlmError
    from wattvlm.questions.visual_tokens import counted
    from wattvlm.renderers import render

    try:
        answer = counted(configs, sizes(resolution)) if resolution else counted(configs)
    except (WattvlmError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    click.echo(render(answer, output_format or "console"))
