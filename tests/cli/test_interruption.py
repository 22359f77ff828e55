"""Signals: one sentence, the right exit code, nothing half-written, whatever is under way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from report_factory import make_audit
from toy_audits import NEEDLE, command, records, spawn, write_images

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="other signals")


def heed() -> None:
    """Let a child take each signal, whatever this process was started with, such as nohup."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


SIGNALS = [(signal.SIGINT, 130, ""), (signal.SIGTERM, 143, " by SIGTERM"), (signal.SIGHUP, 129, " by SIGHUP")]
GOES_ON = "resumes where this one stopped"
ANEW = "starts anew, and nothing was left half-written"
HEAD = """
import os, signal, sys, threading, time
import torpor.cli.app as app
from torpor.cli.main import main

def ready():
    print("ready", flush=True)

def hang():
    ready()
    time.sleep(60)
"""
STATES = {
    "plain": "app.run = hang",
    "in a module that is imported": """
import importlib
def run():
    sys.path.insert(0, FOLDER)
    try:
        import torpor_hanging_module
    except BaseException:
        raise ImportError("swallowed")
app.run = run
""",
    "what becomes an error": """
def run():
    try:
        hang()
    except BaseException:
        raise ValueError("converted")
app.run = run
""",
    "what becomes an exit code": """
def run():
    try:
        hang()
    except BaseException:
        return 0
app.run = run
""",
    "in a finalizer": """
class Slow:
    def __del__(self):
        hang()
def run():
    slow = Slow()
    del slow
    time.sleep(60)
app.run = run
""",
    "with threads at work": """
def run():
    threading.Thread(target=time.sleep, args=(60,)).start()
    hang()
app.run = run
""",
    "inside a verb": """
import torpor.cli.list_taxonomy
torpor.cli.list_taxonomy.print_taxonomy = lambda **given: hang()
sys.argv[1:] = ["list", "taxonomy"]
""",
}


def interrupt(code: str, folder: Path, *numbers: int, words: tuple[str, ...] = ("audit", "x")) -> tuple[int, str]:
    """Send signals to a command that has said that it is ready; return its exit code and standard error."""
    (folder / "torpor_hanging_module.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    head = HEAD + f"FOLDER = {str(folder)!r}\nsys.argv = ['torpor', *{words!r}]\n"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{head}{code}\nmain()\n"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed,
    )
    assert child.stdout is not None
    try:
        for number in numbers:
            assert child.stdout.readline() == "ready\n"
            child.send_signal(number)
        return child.wait(30), child.communicate()[1]
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("state", STATES)
def test_a_signal_ends_every_state_with_one_sentence(tmp_path: Path, state: str) -> None:
    sentence = ANEW if "verb" in state else GOES_ON
    assert interrupt(STATES[state], tmp_path, signal.SIGINT) == (
        130,
        f"torpor: interrupted; the same command {sentence}\n",
    )


@pytest.mark.parametrize(("number", "code", "name"), SIGNALS)
def test_each_signal_has_its_code(tmp_path: Path, number: int, code: int, name: str) -> None:
    for words, how in ((("zoo", "train", "x"), GOES_ON), (("zoo", "info", "x"), ANEW), (("check", "x"), ANEW)):
        found = interrupt(STATES["plain"], tmp_path, number, words=words)
        assert found == (code, f"torpor: interrupted{name}; the same command {how}\n")


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    tidying = "def run():\n    try:\n        hang()\n    finally:\n        hang()\napp.run = run"
    code, said = interrupt(tidying, tmp_path, signal.SIGTERM, signal.SIGINT)
    assert (code, said) == (143, f"torpor: interrupted by SIGTERM; the same command {GOES_ON}\n")


def test_tidying_up_is_done_but_not_for_ever(tmp_path: Path) -> None:
    tidying = f"""
import torpor.cli.main
torpor.cli.main.PATIENCE_S = 0.3
def run():
    try:
        hang()
    except BaseException:
        open({str(tmp_path / "tidy")!r}, "w").close()
        time.sleep(60)
app.run = run
"""
    assert interrupt(tidying, tmp_path, signal.SIGINT)[0] == 130
    assert (tmp_path / "tidy").exists()


def test_signals_that_are_to_be_ignored_stay_ignored(tmp_path: Path) -> None:
    code = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\ndef run():\n    ready()\n    sys.stdin.read()\n    return 7\n"
    head = HEAD + "sys.argv = ['torpor', 'audit', 'x']\n"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{head}{code}app.run = run\nmain()\n"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGHUP)
    child.communicate("")
    assert child.returncode == 7


@pytest.mark.slow
def test_an_audit_goes_on_where_a_signal_stopped_it(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", test=24, train=2)
    words = ["audit", NEEDLE, "--attacks", "pgd", "--eps", "0.2", "--steps", "3", "--batch-size", "2"]
    words += ["--data-dir", str(data)]
    run = tmp_path / "run"
    child = subprocess.Popen(
        command(*words, "--out", run),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=heed,
    )
    while child.poll() is None and not list(run.glob("shards/*.parquet")):
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    said = child.communicate()[1]
    about, sentence = (line for line in said.splitlines() if not line.startswith(("batch ", "loading ")))
    assert about.startswith("About to attack 24 samples in 5 rows")
    assert child.returncode == 143
    assert re.fullmatch(
        rf"torpor: interrupted by SIGTERM; \d+ finished batch(es are| is) kept in {run}, and the same command "
        rf"{GOES_ON}",
        sentence,
    )
    assert spawn(*words, "--out", run, cwd=tmp_path).returncode == 0
    assert len(records(run)) % 24 == 0
    assert not [*run.rglob("*.partial"), *run.rglob(".*.html")]


def test_in_process_the_signals_come_back() -> None:
    from toy_audits import call

    before = [signal.getsignal(number) for number, *_ in SIGNALS], sys.unraisablehook
    assert call("--version")[0] == 0
    assert ([signal.getsignal(number) for number, *_ in SIGNALS], sys.unraisablehook) == before


def unread(words: list[str]) -> tuple[int, bytes]:
    """Run a command whose reader has gone, and return its exit code and standard error."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    return done.returncode, done.stderr


def test_a_reader_that_has_gone() -> None:
    loud = "def run():\n    for _ in range(10000): print('much to say')\n    return 0\n"
    verbs = {
        "bare": f"{loud}app.run = run",
        "wrapped": f"from torpor.cli.streams import verb\n{loud}app.run = verb(run)",
    }
    for code in verbs.values():
        assert unread([sys.executable, "-c", f"{HEAD}sys.argv = ['torpor']\n{code}\nmain()"]) == (141, b"")


def test_tables_of_which_nobody_reads_the_rest(tmp_path: Path) -> None:
    make_audit(tmp_path / "run")
    for words in ("zoo info sdn-digits", "list attacks", "list taxonomy", f"report {tmp_path / 'run'}"):
        assert (words, *unread(command(*words.split()))) == (words, 141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_and_no_streams_at_all(tmp_path: Path) -> None:
    words = command("--version")
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        shell = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *words], check=False, capture_output=True)
        assert shell.returncode == 0
