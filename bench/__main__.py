"""The gateway and its peers side by side: `python -m bench [--rounds 3] [--seconds 2] [PART …]`.

Servers run on core 0, their load on core 1, in turns. Figures are medians of all rounds; only
ratios between servers of one run mean anything.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench import disk, ingest, node_red, scale, slow, small, sse, upstream
from bench.session import Session

ROUNDS = {"ingest": ingest.run, "sse": sse.run, "mqtt": upstream.run, "series": scale.series}
ONCE = {"small": small.run, "disk": disk.run, "slow": slow.run, "scale": scale.run}
TARGET = Path("bench-results.json")


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice([*ROUNDS, *ONCE]))
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Of each measurement.")
@click.option("--only", multiple=True, help="Servers to measure, by the start of their names.")
@click.option("--full", is_flag=True, help="100 million stored readings, a million outbox rows.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=TARGET)
@click.option(
    "--page", type=click.Path(path_type=Path), help="Renew tables and plots of this page."
)
def main(
    *,
    parts: tuple[str, ...],
    rounds: int,
    seconds: float,
    only: tuple[str, ...],
    full: bool,
    target: Path,
    page: Path | None,
) -> None:
    """Measure, write the notes, print the goals."""
    from bench import page as pages

    node_red.install()
    with TemporaryDirectory(prefix="bench-") as name:
        session = Session(Path(name), seconds, full, only)
        plan = [(n, part) for n in range(rounds) for part in ROUNDS if part in (parts or ROUNDS)]
        plan += [(0, part) for part in ONCE if part in (parts or ONCE)]
        for number, part in plan:
            session.say(f"{part}, round {number + 1}")
            (ROUNDS | ONCE)[part](session)
            notes = {"machine": pages.machine(rounds, seconds), "notes": session.notes.all}
            target.write_text(json.dumps(notes, indent=1) + "\n")
    print(pages.goals_table(session.notes))
    if page is not None:
        pages.renew(page, target)


main()
