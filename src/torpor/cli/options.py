"""Options that several verbs share, spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torpor.core.budget import COUNTS, NORMS, PATCHES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.audits.read import SavedAudit


def complete_targets(incomplete: str) -> list[str]:
    """Return the names of targets that begin so, for the shell."""
    from importlib.metadata import entry_points

    return sorted({each.name for each in entry_points(group="torpor.targets") if each.name.startswith(incomplete)})


def complete_attacks(incomplete: str) -> list[str]:
    """Return lists of attacks that begin so, for the shell: what follows the last comma is completed."""
    from torpor.attacks.registry import attack_ids

    return _last_of_list(incomplete, attack_ids())


def complete_defenses(incomplete: str) -> list[str]:
    """Return lists of defenses that begin so, for the shell."""
    from torpor.defenses.registry import defense_ids

    return _last_of_list(incomplete, defense_ids())


def _last_of_list(incomplete: str, names: tuple[str, ...]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


TargetName = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="A name from 'torpor list targets', hf:FOLDER_OR_NAME (with options if need be, as in "
        "hf:NAME:cap=64:dtype=bfloat16), torchvision:NAME, ultralytics:NAME.yaml, openai:URL of a server, or "
        "pkg.module:factory.",
        autocompletion=complete_targets,
    ),
]
Norm = Annotated[
    str | None,
    typer.Option(
        help=f"{', '.join(NORMS)}; {' or '.join(PATCHES)} of images and videos, whose --eps is a share of the area; "
        f"{', '.join(COUNTS)} of texts; each attack's own by default.",
        show_default=False,
    ),
]
Steps = Annotated[int | None, typer.Option(help="Iterations of gradient attacks; each attack's own by default.")]
Limit = Annotated[
    int | None,
    typer.Option(
        help="Samples at most; all by default, fewer of the test data of targets that are slow to attack.",
        show_default=False,
    ),
]
Offset = Annotated[int, typer.Option(help="Test samples that are left out at the beginning.")]
Sample = Annotated[
    int | None,
    typer.Option(help="Test samples drawn at random, by --seed, in place of the first --limit.", show_default=False),
]
Seed = Annotated[int, typer.Option(help="Seed of all randomness.")]
BatchSize = Annotated[int, typer.Option(help="Samples per batch.")]
Device = Annotated[str, typer.Option(help="Where the target runs, such as cpu or cuda.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder with the target's data, such as test.parquet.", show_default=False)
]
Inputs = Annotated[
    Path | None,
    typer.Option(
        help="Your own texts (a line or a file each; prompts and conversations in a .jsonl file), images or WAV files, "
        "a file or a folder.",
        show_default=False,
    ),
]
Prices = Annotated[
    str | None,
    typer.Option(
        "--prices",
        metavar="PRICES",
        help="What one run of each unit costs, in any currency: a TOML or JSON file, or a name from 'torpor list "
        "prices'.",
        show_default=False,
    ),
]
Rule = Annotated[
    str | None,
    typer.Option(
        help="Exit rule: drop:0.05, confidence:T, entropy:T, patience:N, or learned:T of texts.", show_default=False
    ),
]
ThreadCount = Annotated[
    int | None,
    typer.Option(
        "--threads", help="Threads of torch; by default as many as the target gains from.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JsonTable = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Cap = Annotated[
    int | None,
    typer.Option(
        help="Tokens that an hf: model generates at most, as it is deployed by default; that each answer of an openai: "
        "server may have, 256 by default."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(help="What an openai: server calls the model; #model=NAME after the address does the same."),
]
TokenPriceFile = Annotated[
    str | None,
    typer.Option(
        "--prices",
        metavar="FILE",
        help="TOML with what an openai: server charges, dollars per million tokens; costs are in dollars then, else in "
        "tokens.",
        show_default=False,
    ),
]
DType = Annotated[
    str | None,
    typer.Option(
        "--dtype", help="float32, bfloat16 or float16 for an hf: model; as it is saved by default.", show_default=False
    ),
]
DeviceMap = Annotated[
    str | None,
    typer.Option(help="How accelerate lays an hf: model on devices, such as auto.", show_default=False),
]
Bits = Annotated[
    int | None,
    typer.Option(help="Weights of 4 or 8 bits, which bitsandbytes makes of an hf: model's.", show_default=False),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        help="Text beside each image that a vision-language hf: model reads; 'Describe the image.' by default.",
        show_default=False,
    ),
]
ImageSize = Annotated[
    str | None,
    typer.Option(
        help="Width and height of these images, such as 640x480, which decide how many tiles and tokens they become; "
        "by default what the model was made for.",
        show_default=False,
    ),
]
Raw = Annotated[bool, typer.Option("--raw", help="Leave the chat template of an hf: model out.")]


Resend = Annotated[
    bool,
    typer.Option(
        "--resend",
        help="Send again what was under way when an earlier run of this command on an openai: server was ended; it may "
        "have been billed already.",
    ),
]


def resending(target: Any, asked: bool) -> None:  # noqa: ANN401 - an endpoint, or what is refused
    """Let a target send again what was under way when an earlier run was ended, if that is asked.

    Raises:
        UsageError: if it is no endpoint.
    """
    from torpor.core.errors import UsageError

    if not asked:
        return
    if not target.offers("resend"):
        raise UsageError(f"expected an endpoint, openai:URL, with --resend, got {target.name}; leave it out")
    target.resend()


ENDPOINT, SERVED = "openai:", ("model", "prices")
"""What marks endpoints, and options that only they have."""


def with_options(name: str, given: Mapping[str, object]) -> str:
    """Return the name of a target with options after it; those that are None or False are left out.

    Raises:
        UsageError: if there are options that the target does not have.

    >>> with_options("hf:model", {"cap": 64, "raw": True, "dtype": None})
    'hf:model:cap=64:raw=true'
    >>> with_options("hf:model", {"cap": 0})
    'hf:model:cap=0'
    >>> with_options("hf:model", {"prompt": "Answer in 10%: yes?"})
    'hf:model:prompt=Answer in 10%25%3A yes?'
    >>> with_options("openai:http://127.0.0.1/v1", {"model": "small", "cap": 64})
    'openai:http://127.0.0.1/v1#model=small&cap=64'
    """
    from torpor.core.errors import UsageError
    from torpor.core.registry import MARK

    if name.startswith(ENDPOINT):
        return _with_endpoint_options(name, given)
    for key in SERVED:
        if given.get(key) is not None:
            raise UsageError(f"expected an endpoint, openai:URL, with --{key}, got {name}; leave it out")
    said = {key: value for key, value in given.items() if value is not None and value is not False}  # 0 is refused
    asked = {key: str(value).lower() if value is True else value for key, value in said.items()}
    if asked and not name.startswith("hf:"):
        option = next(iter(asked)).replace("_", "-")
        raise UsageError(f"expected a model of transformers, hf:NAME, with --{option}, got {name}; leave it out")
    if "prompt" in asked:
        asked["prompt"] = str(asked["prompt"]).replace("%", "%25").replace(MARK, "%3A")
    return MARK.join([name, *(f"{key}={value}" for key, value in asked.items())])


def _with_endpoint_options(name: str, given: Mapping[str, object]) -> str:
    from torpor.core.errors import UsageError
    from torpor.targets.endpoint.options import with_endpoint_options

    for key, value in given.items():
        if value is not None and value is not False and key not in (*SERVED, "cap"):
            option = key.replace("_", "-")
            raise UsageError(f"expected a model of transformers, hf:NAME, with --{option}, got {name}; leave it out")
    return with_endpoint_options(name, given)


def require_prices(prices: str | None) -> None:
    """See whether there are such prices.

    Raises:
        UsageError, DataError: if there are none.
    """
    if prices is not None:
        from torpor.audits.pricing.prices import load_prices

        load_prices(prices)


def read_run(run: Path, prices: str | None) -> SavedAudit:
    """Read a finished audit, under the prices that were asked for.

    Raises:
        UsageError: if there are no such prices, or some unit has none.
        DataError: if the audit cannot be read.
        IncompleteAudit: if it was interrupted.
    """
    if prices is None:
        from torpor.audits.read import read_audit

        return read_audit(run)
    from torpor.audits.pricing.prices import read_priced

    return read_priced(run, prices)
