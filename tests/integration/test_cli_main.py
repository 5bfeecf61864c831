"""The command line as a whole: quick to start, plain without a terminal, exit codes that programs can rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from terminal import on_terminal

from parakh.cli import main as command_line
from parakh.cli.console import clean, cut, width
from parakh.cli.main import FOUND_PROBLEMS, OK, VERBS, WRONG_USE, run

HEAVY = ("numpy", "numba", "pyarrow", "rich", "duckdb", "pandas", "lightgbm", "onnxruntime")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A small project that holds."""
    folder = tmp_path / "shop"
    for name, text in {
        "parakh.toml": 'name = "shop"\ncurrency = "INR"\n',
        "events/payment.yaml": "event: payment\nid: payment_id\ntime: paid_at\nfields:\n  payment_id: string\n"
        "  paid_at: timestamp\n  card: {type: string, entity: card}\n  amount: {type: money, currency: INR}\n",
        "features/card.yaml": "entity: card\nfeatures:\n  payments:\n    from: payment\n    aggregate: count(*)\n"
        "    over: [10m, 1h]\n",
        "rules/card_testing.yaml": "rule: card_testing\nfor: payment\nwhen: card.payments_10m >= 3 and amount < 5\n"
        "then: block\nreason: R101\ntext: many small payments of one card\ntests:\n"
        "  - given: {card.payments_10m: 7, amount: 1.00}\n    expect: hit\n",
        "policies/payment.yaml": "policy: payment\nfor: payment\notherwise: allow\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def parakh(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "parakh", *arguments],
        capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["check", "SHOP"], ["fmt", "SHOP", "--check"]])
def test_what_runs_no_kernel_starts_at_once_and_loads_nothing_heavy(arguments: list[str], shop: Path) -> None:
    arguments = [str(shop) if word == "SHOP" else word for word in arguments]
    code = (
        "import sys, time\nbegan = time.process_time()\nfrom parakh.cli.main import run\n"
        f"code = run({arguments!r})\ntook = time.process_time() - began\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print(f'\\n@{code}|{took:.3f}|{heavy}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    exit_code, took, heavy = done.stdout.rsplit("@", 1)[1].strip().split("|")
    assert (int(exit_code), heavy) == (OK, "[]"), done.stderr
    assert float(took) < 1.0, "0.5 s on an idle machine; CPU time here, with room for a busy one"


def test_help_names_every_verb_and_every_verb_has_help_with_an_example() -> None:
    done = parakh("--help")
    assert done.returncode == OK
    for name in VERBS:
        assert name in done.stdout
        verb_help = parakh(name, "--help")
        assert verb_help.returncode == OK, verb_help.stderr
        assert f"parakh {name}" in verb_help.stdout
        assert "Example" in verb_help.stdout


def test_a_verb_that_is_not_there_gives_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chekc"]) == WRONG_USE
    assert "did you mean 'check'?" in capsys.readouterr().err


def test_wrong_use_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "/nowhere/at/all"]) == WRONG_USE
    error = capsys.readouterr().err
    assert "/nowhere/at/all" in error
    assert "parakh check --help" in error
    assert run(["simulate", "--events", "many", "--out", "x"]) == WRONG_USE


def test_check_of_a_sound_project(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(shop)]) == OK
    said = capsys.readouterr().out
    assert "sound" in said
    assert "card.payments_10m" in said
    assert run(["check", str(shop), "--json"]) == OK
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] is True
    assert data["live_rules"] == ["card_testing"]


def test_check_shows_every_mistake_with_its_line_and_a_hint(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = shop / "rules/card_testing.yaml"
    rule.write_text(rule.read_text().replace("card.payments_10m >= 3", "card.payment_10m >= 3"))
    policy = shop / "policies/payment.yaml"
    policy.write_text(policy.read_text().replace("allow", "alow"))
    assert run(["check", str(shop)]) == FOUND_PROBLEMS
    error = capsys.readouterr().err
    assert "rules/card_testing.yaml:3:7" in error
    assert "when: card.payment_10m >= 3 and amount < 5" in error
    assert "^^^^^^^^^^^^^^^^" in error
    assert "did you mean card.payments_10m?" in error
    assert "did you mean allow?" in error
    assert "2 problems in 2 files" in error
    assert run(["check", str(shop), "--json"]) == FOUND_PROBLEMS
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [problem["place"]["line"] for problem in problems] == [3, 3]


def test_the_carets_stand_under_the_text(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = shop / "rules/card_testing.yaml"
    rule.write_text(rule.read_text().replace("amount < 5", "amuont < 5"))
    run(["check", str(shop)])
    lines = capsys.readouterr().err.splitlines()
    at = next(number for number, line in enumerate(lines) if "^" in line)
    first, last = lines[at].index("^"), lines[at].rindex("^")
    assert lines[at - 1][first : last + 1] == "amuont"


def test_fmt_checks_then_formats_then_has_nothing_to_do(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = shop / "rules/card_testing.yaml"
    text = rule.read_text().replace("then: block\n", "").replace("for: payment", "then:    block\nfor: payment")
    rule.write_text(text)
    before = rule.read_text()
    assert run(["fmt", str(shop), "--check", "--diff"]) == FOUND_PROBLEMS
    assert rule.read_text() == before
    assert "would change" in capsys.readouterr().out
    assert run(["fmt", str(shop)]) == OK
    assert run(["fmt", str(shop), "--check"]) == OK
    assert run(["check", str(shop)]) == OK


def test_fmt_of_a_broken_file_changes_nothing(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "rules/broken.yaml").write_text("rule: a\n  when: [")
    (shop / "rules/bytes.yaml").write_bytes(b"rule: \xff\xfe\n")
    assert run(["fmt", str(shop)]) == FOUND_PROBLEMS
    error = capsys.readouterr().err
    assert "broken.yaml" in error
    assert "bytes.yaml" in error
    assert (shop / "rules/bytes.yaml").read_bytes() == b"rule: \xff\xfe\n"


def test_init_writes_a_project_that_holds_and_never_over_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new"
    assert run(["init", str(folder)]) == OK
    assert "parakh check" in capsys.readouterr().out
    assert (folder / "parakh.toml").is_file()
    assert run(["init", str(folder)]) == WRONG_USE
    assert "not empty" in capsys.readouterr().err


def test_diff_tells_texts_before_and_after(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(shop, other)
    assert run(["diff", str(shop), str(other)]) == OK
    assert "say the same" in capsys.readouterr().out
    rule = other / "rules/card_testing.yaml"
    rule.write_text(rule.read_text().replace(">= 3", ">= 2"))
    assert run(["diff", str(shop), str(other)]) == OK
    said = capsys.readouterr().out
    assert "card.payments_10m >= 3 and amount < 5" in said
    assert "card.payments_10m >= 2 and amount < 5" in said
    assert run(["diff", str(shop), str(other), "--json"]) == OK
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert (change["kind"], change["name"], change["status"]) == ("rule", "card_testing", "changed")
    assert run(["diff", str(shop), str(other), "--labels", "x.ndjson"]) == WRONG_USE


def test_simulate_is_told_in_words_and_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "events"
    assert run(["simulate", "fintech", "--events", "3000", "--seed", "4", "--out", str(out), "--json"]) == OK
    data = json.loads(capsys.readouterr().out)
    assert sum(data["events"].values()) == 3000
    assert data["seed"] == 4
    assert run(["simulate", "fintech", "--events", "3000", "--seed", "4", "--out", str(out)]) == OK
    said = capsys.readouterr().out
    assert "3,000 events" in said
    assert f"--labels {out / 'labels.ndjson'}" in said
    assert run(["simulate", "atlantis", "--out", str(out)]) == WRONG_USE


def test_output_is_plain_without_a_terminal_and_with_no_color(shop: Path) -> None:
    assert "\x1b" not in parakh("check", str(shop)).stdout
    assert "\x1b" in on_terminal(["check", str(shop)])[1]
    assert "\x1b[" not in on_terminal(["check", str(shop)], NO_COLOR="1")[1]


def test_a_reader_that_leaves_is_no_error(shop: Path) -> None:
    script = f"{sys.executable} -m parakh check {shop} --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr
    assert "rror" not in done.stderr


def test_an_interrupt_stops_without_a_traceback(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "parakh", "simulate", "--events", "40000000", "--out", str(tmp_path / "big")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(1.0)
    process.send_signal(2)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped" in error
    assert "Traceback" not in error


def test_a_mistake_of_ours_is_called_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of ours\x1b[2J")

    monkeypatch.delenv("PARAKH_DEBUG", raising=False)
    monkeypatch.setattr(command_line.cli, "main", broken)
    assert run(["check"]) == command_line.INTERNAL_ERROR
    error = capsys.readouterr().err
    assert "internal error: ZeroDivisionError: of ours\\x1b[2J" in error
    assert "Traceback" not in error


def test_text_from_outside_cannot_move_the_cursor(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "rules/evil.yaml").write_text('rule: evil\nfor: payment\nwhen: amount < 5\nthen: "\\e[2Jblock"\n')
    run(["check", str(shop)])
    captured = capsys.readouterr()
    assert "\x1b" not in captured.err + captured.out
    assert clean("a\x9b2Jb\x1b]0;t\x07") == "a\\x9b2Jb\\x1b]0;t\\x07"


def test_widths_of_wide_and_combining_characters() -> None:
    assert width("परख") == 3
    assert width("漢字") == 4
    assert width("\x1b[1mab\x1b[0m") == 2
    assert cut("漢字漢字", 5) == "漢字…"
