"""Try torpor on an endpoint, at no cost: ``make endpoint-demo``, or ``python examples/endpoint_demo.py``.

Starts a small model behind a server on loopback (``serve_model.py``), checks whether its limits hold, audits it as an
endpoint, and asks which cap on the model behind it keeps the worst answer short. The server is stopped at the end.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import threading
import time
import webbrowser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from serve_model import CHAT, NAME, serve

PROMPTS = (
    "What is the dog doing in the park?",
    "Describe the people at the market.",
    "Who is on the stage?",
    "What do the children play?",
)


FINDINGS = (0, 10, 11)
"""Exit codes of a command that has come to a result, whatever that is."""


def step(what: str, *words: str) -> None:
    """Say what is done, do it, and say how long it took.

    Raises:
        SystemExit: with the exit code of a command that failed.
    """
    print(f"\n== {what}\n$ torpor {shlex.join(words)}", flush=True)
    begin = time.monotonic()
    code = subprocess.run([str(Path(sys.executable).with_name("torpor")), *words], check=False).returncode
    print(f"({time.monotonic() - begin:.0f} s)", flush=True)
    if code not in FINDINGS:
        raise SystemExit(code)


def show(report: Path) -> None:
    """Open a report, where there is somebody to look at it."""
    screen = sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if screen and sys.stdout.isatty():
        webbrowser.open(report.resolve().as_uri())


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/endpoint-demo"), help="(default: runs/endpoint-demo)")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    prompts = out / "prompts.txt"
    prompts.write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    read = out / "read.txt"  # what the model reads of them behind the server
    read.write_text("".join(f"{CHAT.format(prompt)}\n" for prompt in PROMPTS))
    with serve() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"openai:http://127.0.0.1:{server.server_port}/v1"
        try:
            asked = ("--model", NAME)
            step("Do its limits hold?", "conform", address, *asked, "--junit", str(out / "conform.xml"))
            audit = ("--inputs", str(prompts), "--out", str(out / "audit"))
            step("How long can three edited characters make its answers?", "audit", address, *asked, *audit)
        finally:
            server.shutdown()
    caps = ("--inputs", str(read), "--utility", "agreement", "--quantity", "max(slowdown) < 2.5")
    step("Which cap keeps the worst answer short?", "recommend", NAME, *caps, "--out", str(out / "caps"))
    report = out / "audit" / "report.html"
    print(f"\nReport: {report}; caps: {out / 'caps' / 'front.svg'}")
    show(report)


if __name__ == "__main__":
    main()
