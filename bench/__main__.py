"""The gateway and its peers side by side: `python -m bench [--rounds 3] [--seconds 2] [PART …]`.

Servers run on core 0, their load on core 1, in turns. Figures are medians of all rounds; only
ratios between servers of one run mean anything.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench import ingest, sse
from bench.notes import Notes
from bench.session import Session

PARTS = {"ingest": ingest.run, "sse": sse.run}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Of each measurement.")
@click.option("--only", multiple=True, help="Servers to measure, by the start of their names.")
@click.option("--full", is_flag=True, help="100 million stored readings, a million outbox rows.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the notes here.")
def main(
    parts: tuple[str, ...],
    rounds: int,
    seconds: float,
    only: tuple[str, ...],
    full: bool,
    target: Path | None,
) -> None:
    """Measure, and print tables."""
    with TemporaryDirectory(prefix="bench-") as name:
        session = Session(Path(name), seconds, full, only)
        for number in range(rounds):
            session.say(f"round {number + 1} of {rounds}")
            for part in parts or PARTS:
                PARTS[part](session)
    print(json.dumps(session.notes.all, indent=1))


main()
