"""``torpor zoo``: train the zoo's targets and read their cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torpor.cli.options import DataDir, Device, Json
from torpor.cli.streams import verb

if TYPE_CHECKING:
    from torpor.zoo.entry import ZooEntry

zoo = typer.Typer(no_args_is_help=True, help="Train the zoo's targets, and read their model cards.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A target of the zoo.")]


@zoo.command()
@verb
def info(name: Name, as_json: Json = False) -> None:
    """Print the model card of NAME: accuracy and cost per exit or scores and output lengths, attacks, and training."""
    from dataclasses import asdict

    from torpor.cli.console import show
    from torpor.cli.streams import print_json
    from torpor.reports.kit.printable import printable_parts
    from torpor.training.show import card_tables
    from torpor.zoo.compared import compared

    card = _entry(name).card()
    if as_json:
        print_json(card | {"attacks": [asdict(row) for row in compared(name)]})
        return
    for part in card_tables(printable_parts(card)):
        show(part)


@zoo.command()
@verb
def train(
    name: Name,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for weights and card; the user's cache by default.", show_default=False)
    ] = None,
    device: Device = "cpu",
    epochs: Annotated[int | None, typer.Option(help="Passes over the data; the recipe's by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of initialization, order and augmentation.")] = 0,
    download: Annotated[bool, typer.Option("--download", help="Fetch missing data from the hub.")] = False,
) -> None:
    """Train NAME and write its weights and model card; an interrupted training resumes.

    Thresholds are chosen on validation data, never on test data.
    """
    from torpor.audits.plan import check_device, check_seed
    from torpor.cli.console import bar
    from torpor.cli.streams import say
    from torpor.core.errors import UsageError
    from torpor.training.registry import TRAINERS
    from torpor.zoo.entry import cache_folder

    entry = _entry(name)
    if epochs is not None and epochs < 1:
        raise UsageError(f"expected 1 epoch or more, got {epochs}")
    check_seed(seed)
    check_device(device)
    if download:
        data_dir = entry.download()
    folder = out or cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"expected a folder that can be written, got {folder}: {error}; pass another --out") from error
    with bar() as show:
        show("reading data", 0, 0)

        def progress(done: int, total: int, loss: float) -> None:
            show(f"{name}, loss {loss:.3f}", done, total)

        card = TRAINERS[name].train(data_dir, folder, device=device, epochs=epochs, seed=seed, progress=progress)
    say(f"Card: {card}")
    if entry.ships:
        say("Audits still use the weights that ship with torpor, not these.")


def _entry(name: str) -> ZooEntry:
    from torpor.core.errors import UsageError, did_you_mean
    from torpor.zoo.registry import ZOO

    if name not in ZOO:
        raise UsageError(
            f"expected a target of the zoo, got {name!r}; {did_you_mean(name, ZOO)}see: torpor list targets"
        )
    return ZOO[name]
