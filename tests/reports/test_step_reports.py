"""Reports of targets that iterate: texts, images and waves in, text out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from report_factory import make_audit
from report_pages import SECTIONS, Elements, page_of
from step_factory import CAP, SAMPLES, make_step_audit
from test_console import printed

from torpor.audits.read import read_audit
from torpor.core import DataError
from torpor.reports.html import write_report
from torpor.reports.verdict import verdict

D1_TABLE = """\
attack              slowdown p95 / max headroom efficacy accuracy   agree flags
clean                  1.00x     1.00x    0.0 %    0.516   90.0 % 100.0 % -
                                 1.00x
deepsloth              2.11x     4.00x   60.0 %    0.193   60.0 %  47.5 % -
Linf 4/255       [2.01-2.21]     4.00x
deepsloth              2.42x     4.00x   82.9 %    0.086   60.0 %  27.5 % -
Linf 8/255       [2.32-2.52]     4.00x
"""
HOSTILE = "<script>alert(4)</script>\u202e\n"


def loaded(folder: Path) -> dict[str, Any]:
    audit: dict[str, Any] = read_audit(folder).parts()
    return audit


def heads(page: Elements, folder: Path) -> list[str]:
    """Return the titles of the columns of all tables."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    return re.findall(r'<th scope="col"[^>]*>(.*?)</th>', text)


def side(html: str, name: str) -> list[str]:
    """Return the inputs of the clean or the attacked sides."""
    return re.findall(rf'<div class="{name}">.*?<p class="text input" [^>]*>(.*?)</p>', html, re.DOTALL)


def test_targets_that_exit_early_are_reported_as_before(tmp_path: Path) -> None:
    folder = make_audit(tmp_path / "run")
    table = [line.rstrip() for line in printed(folder, 80).splitlines()]
    assert "\n".join(table).startswith(D1_TABLE)
    page = page_of(folder)
    for word in ("I-Loops", "BLEU", "decoder", "edits, mean", "cap hits"):
        assert word not in page.text
    assert {"efficacy, step", "efficacy, trapezoid", "samples per exit"} <= set(heads(page, folder))
    assert not any(attributes.get("class") in ("sides", "text") for _, attributes in page.tags)


@pytest.mark.parametrize("inputs", ["text", "image", "wave"])
@pytest.mark.parametrize("width", [80, 120])
def test_console_shows_steps_in_two_lines_per_row(tmp_path: Path, inputs: str, width: int) -> None:
    folder = make_step_audit(tmp_path / "run", inputs, changes={"i_loops_max": 51_100.0})
    text = printed(folder, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for word in ("I-Loops", f"cap {CAP}", "BLEU", "cap hits", "(51,100 %)", f"the cap of {CAP} steps, which allows"):
        assert word in " ".join(text.split())
    assert "efficacy" not in text
    rows = loaded(folder)["summary"]
    first = next(place for place, line in enumerate(lines) if line.startswith("clean "))
    for place, row in enumerate(rows):
        assert lines[first + 2 * place].split()[0] == row["attack"]
        assert f"-> {row['steps_mean']:.1f}" in lines[first + 2 * place + 1]


def test_console_says_what_texts_may_have_edited(tmp_path: Path) -> None:
    text = printed(make_step_audit(tmp_path / "run"), 80)
    for budget in ("<= 3 characters", "<= 3 tokens", "prompt <= 32 tokens"):
        assert budget in text


def test_console_shows_the_utility_where_there_is_no_bleu(tmp_path: Path) -> None:
    reason = "sacrebleu is not installed"
    changes = {"bleu": None, "chrf": None, "bleu_reason": reason, "utility_name": "ROUGE-L F1"}
    text = printed(make_step_audit(tmp_path / "run", changes=changes), 80)
    assert "ROUGE-L" in text
    assert "BLEU" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_verdict_says_what_the_cap_holds_back(tmp_path: Path) -> None:
    audit = loaded(make_step_audit(tmp_path / "run"))
    worst = next(row for row in audit["summary"] if row["attack"] == "engorgio")
    _, cost, _, _, steps, score = verdict(audit)
    assert "by engorgio, prompt of at most 32 tokens;" in cost
    assert steps.startswith(f"Decoder steps {worst['steps_clean_mean']:.1f} to {worst['steps_mean']:.1f} on average")
    assert f"I-Loops {worst['i_loops_mean']:.0f} % under the cap of {CAP} steps" in steps
    assert f"which allows {worst['i_loops_limit']:.0f} %" in steps
    assert f"the cap ended {100 * worst['cap_hit_rate']:.1f} % of the outputs (clean 0.0 %)" in steps
    assert f"with a cap of {4 * CAP} steps, the 16 saved inputs" in steps
    assert f"I-Loops of {worst['cap4_i_loops_mean']:.0f} %, and 25.0 % of them" in steps
    assert steps.count(". ") == 0
    assert score == "chrF 21.0 % (clean 97.0 %), BLEU 7.4 (clean 92.1); outputs unchanged: 12.5 %."


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"bleu": None, "bleu_reason": "the data have no references", "utility": None},
            "chrF and BLEU not measured: the data have no references; outputs unchanged: 12.5 %.",
        ),
        ({"bleu": None, "bleu_reason": "no sacrebleu", "utility": 0.5}, "BLEU not measured: no sacrebleu; outputs"),
    ],
)
def test_verdict_says_why_there_is_no_score(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    assert expected in verdict(loaded(make_step_audit(tmp_path / "run", changes=changes)))[5]


def test_verdict_without_a_run_at_four_times_the_cap(tmp_path: Path) -> None:
    audit = loaded(make_step_audit(tmp_path / "run", changes={"cap4_i_loops_mean": None}))
    assert verdict(audit)[4].endswith("with a higher cap not measured: nothing was run at four times the cap.")


@pytest.mark.parametrize("inputs", ["text", "image", "wave"])
def test_page_has_loops_in_place_of_exits(tmp_path: Path, inputs: str) -> None:
    folder = make_step_audit(tmp_path / "run", inputs)
    page = page_of(folder)
    assert tuple(attributes["id"] for tag, attributes in page.tags if tag == "section") == SECTIONS
    titles = set(heads(page, folder))
    assert {f"I-Loops (cap {CAP})", f"I-Loops (cap {4 * CAP})", "cap hits", "corpus BLEU", "corpus chrF"} <= titles
    assert not titles & {"efficacy, step", "efficacy, trapezoid", "samples per exit", "OGF"}
    assert ("edits, mean" in titles) is (inputs == "text")
    assert ("Linf, max" in titles) is (inputs != "text")
    assert "OGF (not measured: the target names no length of context)." in page.text
    assert {"chart-steps", "chart-slowdowns", "chart-costs", "decoder-steps"} <= page.ids()
    assert "chart-exits" not in page.ids()
    assert f"cap {CAP}" in page.text
    assert "None" not in page.text


def test_columns_that_no_row_has_are_left_out_with_the_reason(tmp_path: Path) -> None:
    nothing = {"bleu": None, "chrf": None, "utility": None, "bleu_reason": "the data have no references"}
    folder = make_step_audit(tmp_path / "run", changes=nothing)
    page = page_of(folder)
    assert not {"corpus BLEU", "corpus chrF", "chrF"} & set(heads(page, folder))
    said = "Left out, because no row has it: corpus BLEU, corpus chrF, chrF (not measured: the data have no references)"
    assert said in page.text


def test_context_gives_over_generation(tmp_path: Path) -> None:
    folder = make_step_audit(tmp_path / "run", changes={"ogf_mean": 0.25})
    page = page_of(folder)
    assert "OGF" in heads(page, folder)
    assert "0.250" in page.text


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("text", "Attacked texts contain no special tokens and, where the tokenizer is known, survive it."),
        ("image", "Attacked images are 8-bit images that anybody could send."),
        ("wave", "Attacked sounds are 16-bit sounds that anybody could send."),
    ],
)
def test_threat_model_fits_the_inputs(tmp_path: Path, inputs: str, expected: str) -> None:
    assert expected in page_of(make_step_audit(tmp_path / "run", inputs)).text


def test_texts_are_side_by_side_with_their_changes_marked(tmp_path: Path) -> None:
    folder = make_step_audit(tmp_path / "run")
    page = page_of(folder)
    html = (folder / "report.html").read_text(encoding="utf-8")
    samples = html[html.index('<section id="samples">') : html.index('<section id="clock">')]
    clean, attacked = side(samples, "clean"), side(samples, "attacked")
    assert len(clean) == len(attacked) == 3 * 4
    assert any("<mark> bicycle</mark>" in text for text in attacked)
    assert any("<mark>, and</mark>" in text for text in clean)
    assert any("sa<mark> </mark>t" in text and "we<mark>m</mark>t" in text for text in attacked)
    assert not any("<mark>" in text for text in attacked if "zebra" in text)  # a prompt is compared with nothing
    assert "tokens in the attacker's own text" in page.text
    assert "[U+202E]" in page.text
    assert "\u202e" not in html
    assert re.search(r"clean: \d+ steps", page.text)
    assert re.search(rf"attacked: {CAP} steps, ended by the cap", page.text)
    assert "2 characters edited, similarity 96.2 %" in page.text
    assert "Reference: the old" in page.text
    assert any(tag == "details" for tag, _ in page.tags)


@pytest.mark.parametrize(("inputs", "attacks", "kind"), [("image", 2, "image/png"), ("wave", 1, "image/svg+xml")])
def test_images_and_waves_stand_above_the_outputs(tmp_path: Path, inputs: str, attacks: int, kind: str) -> None:
    page = page_of(make_step_audit(tmp_path / "run", inputs))
    images = [str(attributes["src"]) for tag, attributes in page.tags if tag == "img"]
    shown = len(images) // 3
    assert shown == attacks * 4 if inputs == "image" else 0 < shown < attacks * 4  # waves fill the page sooner
    assert all(source.startswith(f"data:{kind};base64,") for source in images)
    assert page.text.count("Reference: the ") == shown
    assert ("Linf 3/255" if inputs == "image" else "Linf 0.01") in page.text


def test_hostile_texts_and_outputs_do_no_harm(tmp_path: Path) -> None:
    attacked = {"nmtsloth-token": [HOSTILE * (place + 1) for place in range(SAMPLES)]}
    folder = make_step_audit(
        tmp_path / "run", attacked=attacked, outputs=[HOSTILE * (30 * (place % 2)) for place in range(8)]
    )
    page = page_of(folder)
    assert not any(script.strip().startswith("alert") for script in page.scripts)
    assert len(page.scripts) == 3 + sum(str(a.get("id")).startswith("chart-") for _, a in page.tags)
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "\u202e" not in html
    assert html.count("&lt;script&gt;alert(4)&lt;/script&gt;") > 10
    assert '<span class="ctl">nothing</span>' in html


@pytest.mark.parametrize("inputs", ["text", "image"])
def test_folders_whose_texts_are_packed_are_read_as_before(tmp_path: Path, inputs: str) -> None:
    folders = [make_step_audit(tmp_path / str(packed) / "run", inputs, packed=packed) for packed in (False, True)]
    kinds = [{path.suffix for path in (folder / "examples").iterdir()} for folder in folders]
    assert kinds == [{".parquet", ".safetensors"}, {".safetensors"}]
    now, old = (write_report(folder).read_text(encoding="utf-8") for folder in folders)
    assert now == old


def test_examples_without_outputs_are_refused(tmp_path: Path) -> None:
    folder = make_step_audit(tmp_path / "run", "wave")
    (path,) = (folder / "examples").glob("*.parquet")
    table = pq.read_table(path)
    pq.write_table(table.drop_columns("attacked_output"), path)
    with pytest.raises(DataError, match="attacked_output"):
        write_report(folder)
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="audit again"):
        write_report(folder)
    path.unlink()
    with pytest.raises(DataError, match="output"):
        write_report(folder)


def test_compare_shows_loops_where_targets_iterate(tmp_path: Path) -> None:
    from torpor.audits.read import read_audit
    from torpor.cli.compare import METRICS, side_by_side

    steps = read_audit(make_step_audit(tmp_path / "steps"))
    run = side_by_side([steps, steps])[0]["runs"][0]
    assert set(run) == {"run", *METRICS, "i_loops_mean", "cap", "cap_hit_rate", "bleu"}
    assert run["cap"] == CAP
    exits = read_audit(make_audit(tmp_path / "exits"))
    assert set(side_by_side([exits, exits])[0]["runs"][0]) == {"run", *METRICS, "efficacy_step"}
