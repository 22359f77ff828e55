"""Damage model folders, audit folders and inputs at random, and run the command line on what is left.

Whatever happens to a file, the command line may read it or refuse it with a sentence; a traceback, a crash of the
process or a run that does not end is a fault. Each fault is kept, with the seed that makes it again:

    python -m benchmarks.fuzz --minutes 20
    python -m benchmarks.fuzz --only inputs --first 1234 --count 1

Every case runs in a process of its own, forked off one that has imported everything, under limits of memory and time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.damage import damage

FINE = {0: "done", 2: "refused", 10: "gate failed", 11: "inconclusive"}
"""Exit codes that say what they mean."""
MEMORY = 6 << 30
"""Bytes of address space that one case gets beside what the process has."""


@dataclass(frozen=True)
class Corpus:
    """Something to damage.

    Attributes:
        name: of it.
        make: writes a sound example into an empty folder.
        commands: command lines to choose from; ``{}`` is the folder.
    """

    name: str
    make: Callable[[Path], None]
    commands: tuple[str, ...]


def model_folder(folder: Path) -> None:
    """Write a small model of texts, as transformers saves it."""
    source = Path(__file__).parents[1] / "src/torpor/zoo/weights/speller"
    for path in source.iterdir():
        if path.is_file():
            shutil.copyfile(path, folder / path.name)


def causal_folder(folder: Path) -> None:
    """Write a tiny random decoder with sliding windows."""
    import torch
    import transformers

    from torpor.zoo.language.tokenizer import train_tokenizer

    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, sliding_window=16, bos_token_id=1, eos_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    model = transformers.MistralForCausalLM(config)
    model.generation_config.max_new_tokens = 8
    model.save_pretrained(folder)
    train_tokenizer([], 259, "decoder-only").save_pretrained(folder)


def audit_folder(folder: Path) -> None:
    """Audit the network that ships with torpor, attacked and defended, on a few inputs."""
    assert command_line(AUDIT.format(folder).split()) == 0


def input_folder(folder: Path) -> None:
    """Write an image of several kinds, a sound, texts, and tables of images."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "bmp", "webp"):
        Image.fromarray(pixels).save(folder / f"a.{suffix}")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(pixels).convert("CMYK").save(folder / "inks.jpg")
    data = np.random.default_rng(0).integers(-9999, 9999, 4000, dtype=np.int16).tobytes()
    head = struct.pack("<IHHIIHH4sI", 16, 1, 1, 8000, 16000, 2, 16, b"data", len(data))
    (folder / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + head + data)
    (folder / "a.txt").write_text("lot 8\nthe 31st of May\n")
    rows = [{"img": {"bytes": (folder / "a.png").read_bytes(), "path": None}, "label": 1}] * 4
    for split in ("test", "train"):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")


AUDIT = "audit sdn-digits --limit 6 --attacks pgd --steps 2 --defenses bit-depth:4 --out {}"
CHECK = "check {} mean(slowdown)<9"
CORPORA = (
    Corpus("model", model_folder, ("bound hf:{}", "measure hf:{} --inputs {}/config.json")),
    Corpus("decoder", causal_folder, ("bound hf:{}", "measure hf:{} --inputs {}/config.json")),
    Corpus(
        "audit",
        audit_folder,
        (
            "report {}", "compare {} {}", CHECK, f"{CHECK} clean:n>=1 --junit {{}}/gate.xml --sarif {{}}/gate.sarif",
            "check {} --baseline {}", AUDIT,
        ),
    ),
    Corpus(
        "inputs",
        input_folder,
        (
            "measure sdn-digits --inputs {}", "measure detector-scenes --inputs {} --limit 2",
            "measure speech-digits --inputs {}/a.wav", "measure speller --inputs {}/a.txt --json",
            "measure sdn-resnet56-cifar10 --data-dir {} --limit 2",
        ),
    ),
)  # fmt: skip


def command_line(words: Sequence[str]) -> int:
    """Run the command line in this process and return its exit code."""
    from torpor.cli.main import main

    sys.argv = ["torpor", *words]
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def run(words: Sequence[str], log: Path, seconds: int) -> str:
    """Run a command line in a process of its own and return what became of it."""
    child = os.fork()
    if child == 0:
        os.setsid()
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", errors="replace") for number in (1, 2))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = 1
        try:
            code = command_line(words)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    end, status = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.005)
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "hang"
    said = log.read_text(errors="replace")
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    if "Traceback (most recent call last)" in said:
        return "traceback"
    return FINE.get(os.WEXITSTATUS(status), f"exit {os.WEXITSTATUS(status)}")


def fuzz(corpus: Corpus, sound: Path, number: int, kept: Path, seconds: int) -> str:
    """Damage a copy of ``sound`` by the random numbers of ``number``, run a command on it, and keep it if at fault."""
    rng = random.Random(f"{corpus.name} {number}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "it"
        shutil.copytree(sound, folder)
        how = damage(folder, rng)
        words = [word.replace("{}", str(folder)) for word in rng.choice(corpus.commands).split()]
        found = run(words, Path(name) / "log", seconds)
        if found not in FINE.values():
            kept.mkdir(parents=True, exist_ok=True)
            said = (Path(name) / "log").read_text(errors="replace")
            told = f"{found}: {how}\n{' '.join(words)}\n{said}"
            (kept / f"{corpus.name}-{number}.txt").write_text(told, errors="replace")
            last = said.strip().splitlines()[-1:] or [""]
            print(f"{corpus.name} {number}: {found}: {how}: {last[0]!a:.200}", flush=True)
        return found


def main() -> int:
    """Fuzz for some minutes and print counts; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long")
    parser.add_argument("--only", choices=[corpus.name for corpus in CORPORA], help="what to damage; all by turns")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--count", type=int, default=sys.maxsize, help="cases at most")
    parser.add_argument("--seconds", type=int, default=60, help="a case that takes longer hangs")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="where faults are kept")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(1)
    import transformers  # noqa: F401 - before the processes are forked

    counts = {corpus.name: Counter[str]() for corpus in CORPORA if options.only in (None, corpus.name)}
    with tempfile.TemporaryDirectory() as name:
        chosen = [corpus for corpus in CORPORA if corpus.name in counts]
        for corpus in chosen:
            folder = Path(name) / corpus.name
            folder.mkdir()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                corpus.make(folder)
        end = time.monotonic() + 60 * options.minutes
        for number in range(options.first, options.first + options.count):
            for corpus in chosen:
                counts[corpus.name][fuzz(corpus, Path(name) / corpus.name, number, options.out, options.seconds)] += 1
            if time.monotonic() > end:
                break
    for corpus_name, found in counts.items():
        print(
            f"{corpus_name:<10}{found.total():6} cases: {', '.join(f'{n} {what}' for what, n in found.most_common())}"
        )
    faults = sum(n for found in counts.values() for what, n in found.items() if what not in FINE.values())
    print(f"{faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
