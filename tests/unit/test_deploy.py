"""What is deployed holds together: files parse, commands are known, metrics exist, kernels are found again.

No container engine is asked for: what Docker, systemd, Prometheus and Grafana would read is read here, and by their own
checkers where the machine has them.
"""

from __future__ import annotations

import http.server
import importlib
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from parakh import __version__
from parakh.cli.main import VERBS
from parakh.rules.definition import Outcome
from parakh.service.problems import CODES
from parakh.service.settings import SETTINGS
from parakh.service.telemetry import DELIVERIES, METRICS, MODES, STAGES, STATUSES, Telemetry

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "parakh.json"
RULES = DEPLOY / "prometheus" / "parakh.rules.yaml"
SERVE_OPTIONS = {"--data", "--host", "--port", "--config", "--tls-cert", "--tls-key", "--log-format"}


def _yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


# The image


def _instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: comments away, continued lines joined."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def _last_stage() -> list[tuple[str, str]]:
    instructions = _instructions()
    begun = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[begun:]


def _environment(stage: list[tuple[str, str]]) -> dict[str, str]:
    pairs = [pair for name, rest in stage if name == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def test_the_image_is_well_formed() -> None:
    known = {
        "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT",
        "CMD",
    }  # fmt: skip
    instructions = _instructions()
    assert {name for name, _ in instructions} <= known
    assert instructions[0][0] == "FROM"
    for name, rest in instructions:
        if name == "FROM":
            image, _, tag = rest.split()[0].partition(":")
            assert image
            assert tag not in ("", "latest"), "an image is pinned to a version"
        if name in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(rest), list), f"{name} is a list, so that signals reach the service"
    names = [name for name, _ in _last_stage()]
    assert names.count("CMD") == names.count("ENTRYPOINT") == names.count("HEALTHCHECK") == 1


def test_the_image_runs_as_nobody_in_particular_and_keeps_its_kernels() -> None:
    stage = _last_stage()
    user = [rest for name, rest in stage if name == "USER"]
    assert len(user) == 1
    assert int(user[0]) >= 1000, "a number, so that an orchestrator can tell that it is not root"
    assert not [name for name, _ in stage[stage.index(("USER", user[0])) :] if name in ("RUN", "COPY")]
    built = _environment(_instructions()[: -len(stage)])
    runs = _environment(stage)
    assert runs["NUMBA_CPU_NAME"] == built["NUMBA_CPU_NAME"] == "generic"
    warmed = next(rest for name, rest in _instructions() if name == "RUN" and "warm_up" in rest)
    compiled = re.search(r"NUMBA_CACHE_DIR=(\S+)", warmed)
    assert compiled is not None
    assert f"cp -R {compiled[1]}/. " in (DEPLOY / "entrypoint.sh").read_text(encoding="utf-8")
    assert runs["NUMBA_CACHE_DIR"].startswith("/tmp/")
    assert ("STOPSIGNAL", "SIGTERM") in stage


def test_what_the_image_copies_exists_and_is_sent_to_the_builder() -> None:
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert sent[0] == "*"
    for name, rest in _instructions():
        if name == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (DEPLOY.parent / source).exists(), source
                assert f"!{source}" in sent, f"{source} is left out by Dockerfile.dockerignore"


def test_hadolint_is_content() -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    subprocess.run([hadolint, str(DEPLOY / "Dockerfile")], check=True)


def test_the_entrypoint_copies_the_kernels_and_becomes_the_service(tmp_path: Path) -> None:
    """As in the container, with other folders: the process that is started is the one that gets the signals."""
    script = DEPLOY / "entrypoint.sh"
    assert os.access(script, os.X_OK)
    kernels, bin_folder, cache = tmp_path / "kernels", tmp_path / "bin", tmp_path / "tmp" / "cache"
    (kernels / "rings_abc").mkdir(parents=True)
    (kernels / "rings_abc" / "kernel.nbc").write_bytes(b"code")
    bin_folder.mkdir()
    program = bin_folder / "parakh"
    program.write_text('#!/bin/sh\necho "$$ $*"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    text = script.read_text(encoding="utf-8").replace("/opt/parakh/kernels", str(kernels))
    started = subprocess.Popen(
        ["/bin/sh", "-c", text, "entrypoint", "serve", "/project", "--data", "a b"],
        env={"PATH": f"{bin_folder}:{os.environ['PATH']}", "NUMBA_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = started.communicate(timeout=30)
    assert said == f"{started.pid} serve /project --data a b\n"
    assert (cache / "rings_abc" / "kernel.nbc").read_bytes() == b"code"


def test_numba_wants_a_cache_that_it_can_write_to_and_finds_generic_code_again(tmp_path: Path) -> None:
    """What the entrypoint and NUMBA_CPU_NAME are for, tried on a kernel of two lines in fresh processes."""
    module = tmp_path / "small.py"
    module.write_text("from numba import njit\n\n@njit(cache=True)\ndef double(x):\n    return 2 * x\n")
    code = (
        "import small; small.double(3); hits = sum(small.double.stats.cache_hits.values())\n"
        "import numba; from numba.core.registry import cpu_target\n"
        "print(hits, cpu_target.target_context.codegen().magic_tuple()[1:])"
    )
    built, copied = tmp_path / "built", tmp_path / "copied"

    def run(cache: Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(cache)}
        return subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )

    # The key of what is compiled holds neither the name nor the features of the machine at hand.
    assert run(built).stdout == "0 ('generic', '')\n"
    shutil.copytree(built, copied)
    assert run(copied).stdout == "1 ('generic', '')\n"


def test_the_mark_of_compiled_kernels_does_not_name_the_builders_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from parakh.decisions import warmup

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    marks = []
    for generic, processor in [(True, "one"), (True, "other"), (False, "one"), (False, "other")]:
        monkeypatch.setattr(warmup, "_processor", lambda processor=processor: processor)
        if generic:
            monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
        else:
            monkeypatch.delenv("NUMBA_CPU_NAME", raising=False)
        marks.append(warmup._mark())
    assert marks[0] == marks[1]
    assert len(set(marks)) == 3


# The probe of the container's health


class _Answer(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def _health(**environment: str) -> int:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PARAKH_")}
    script = str(DEPLOY / "healthcheck.py")
    done = subprocess.run([sys.executable, script], env={**clean, **environment}, capture_output=True, check=False)
    assert done.stdout == done.stderr == b""
    return done.returncode


def test_the_probe_tells_ready_from_not_ready_and_from_not_there(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _health(PARAKH_PORT=str(port)) == 0
    assert _health(PARAKH_PORT=str(port), PARAKH_TLS_CLIENT_CA="/ca.pem") == 0
    monkeypatch.setattr(_Answer, "status", 503)
    assert _health(PARAKH_PORT=str(port)) == 1
    assert _health(PARAKH_PORT=str(port), PARAKH_TLS_CERTIFICATE="/cert.pem") == 1  # speaks no TLS
    assert _health(PARAKH_PORT="1") == 1


def test_the_probe_reads_variables_that_the_service_reads() -> None:
    text = (DEPLOY / "healthcheck.py").read_text(encoding="utf-8")
    assert set(re.findall(r"PARAKH_\w+", text)) <= {setting.variable for setting in SETTINGS}


# Compose and systemd


def _expect_serve(arguments: list[str]) -> None:
    """The arguments are `serve PROJECT` with options of the command line, each with a value."""
    assert arguments[0] == "serve"
    options = {}
    for option, value in zip(arguments[2::2], arguments[3::2], strict=True):
        assert option in SERVE_OPTIONS
        options[option] = value
    assert options["--log-format"] == "json"
    assert options["--port"] == "8321"
    verb = VERBS.get("serve")
    if verb is not None:
        command: click.Command = importlib.import_module(f"parakh.cli.{verb.module}").command
        taken = {text for parameter in command.params for text in parameter.opts}
        assert taken >= SERVE_OPTIONS, f"`parakh serve` lacks {sorted(SERVE_OPTIONS - taken)}"


def test_compose_holds() -> None:
    compose = _yaml(DEPLOY / "compose.yaml")
    assert {"name", "services", "volumes", "secrets"} == set(compose)
    services = compose["services"]
    assert set(services) == {"parakh", "prometheus", "grafana"}
    parakh = services["parakh"]
    assert "profiles" not in parakh, "plain `up parakh` must work"
    assert "depends_on" not in parakh
    assert parakh["image"].endswith(f":{__version__}")
    assert (DEPLOY / parakh["build"]["context"] / parakh["build"]["dockerfile"]).is_file()
    assert parakh["read_only"] is True
    assert parakh["cap_drop"] == ["ALL"]
    assert "/data" in {volume.split(":")[1] for volume in parakh["volumes"] if volume.startswith("parakh-data")}
    assert any(mount.startswith("/tmp:") for mount in parakh["tmpfs"]), "kernels are copied to /tmp"
    _expect_serve(parakh["command"])
    _expect_serve(json.loads(next(rest for name, rest in _last_stage() if name == "CMD")))
    for name, service in services.items():
        assert all(published.startswith("127.0.0.1:") for published in service["ports"]), (
            f"{name} is open to the network"
        )
        assert service["restart"] == "unless-stopped"
        for volume in service["volumes"]:
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).exists(), volume
        for secret in service.get("secrets", ()):
            assert secret in compose["secrets"]
        if name != "parakh":
            assert service["profiles"] == ["monitoring"]
            assert service["image"].rpartition(":")[2] not in ("", "latest")


def test_prometheus_and_grafana_find_what_they_are_given() -> None:
    compose = _yaml(DEPLOY / "compose.yaml")["services"]
    mounted = {
        target: DEPLOY / source
        for service in ("prometheus", "grafana")
        for source, target, *_ in (volume.split(":") for volume in compose[service]["volumes"])
    }
    prometheus = _yaml(DEPLOY / "prometheus.yaml")
    for path in prometheus["rule_files"]:
        folder, _, name = path.rpartition("/")
        assert (mounted[folder] / name).is_file()
    (job,) = prometheus["scrape_configs"]
    assert job["job_name"] == "parakh"
    assert job["static_configs"][0]["targets"] == ["parakh:8321"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{compose['prometheus']['secrets'][0]}"
    (datasource,) = _yaml(DEPLOY / "grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert datasource["url"] == "http://prometheus:9090"
    (provider,) = _yaml(DEPLOY / "grafana/provisioning/dashboards/parakh.yaml")["providers"]
    assert mounted[f"{provider['options']['path']}/parakh.json"] == DEPLOY / "./grafana/parakh.json"


def _unit() -> dict[str, list[str]]:
    """The unit's settings, by name, each with all its values."""
    settings: dict[str, list[str]] = {}
    for line in (DEPLOY / "parakh.service").read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#[":
            name, separator, value = line.partition("=")
            assert separator, line
            settings.setdefault(name, []).append(value)
    return settings


def test_the_unit_starts_the_service_shut_in_and_again() -> None:
    unit = _unit()
    program, *arguments = shlex.split(unit["ExecStart"][0])
    assert program == "/opt/parakh/venv/bin/parakh"
    _expect_serve(arguments)
    expected = {
        "Restart": "always", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "StateDirectory": "parakh",
        "LimitNOFILE": "65536", "TimeoutStopSec": "30", "User": "parakh", "CapabilityBoundingSet": "",
    }  # fmt: skip
    assert {name: unit[name] for name in expected} == {name: [value] for name, value in expected.items()}
    assert float(unit["RestartSec"][0]) > 0
    assert arguments[arguments.index("--data") + 1] == f"/var/lib/{unit['StateDirectory'][0]}"
    assert f"NUMBA_CACHE_DIR=/var/cache/{unit['CacheDirectory'][0]}" in unit["Environment"]
    assert "MemoryDenyWriteExecute" not in unit, "kernels are written, then run"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / "parakh.service").read_text(encoding="utf-8")
    unit = tmp_path / "parakh.service"
    unit.write_text(text.replace("/opt/parakh/venv/bin/parakh", shutil.which("true") or "/bin/true"))
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        [analyze, "security", "--offline=true", str(unit)], capture_output=True, text=True, check=False
    )
    exposure = re.search(r"Overall exposure level for parakh\.service: ([0-9.]+)", done.stdout)
    if exposure is not None:  # older ones cannot judge a file
        assert float(exposure[1]) < 2


# The dashboard and the alerts


def _queries() -> list[tuple[str, str]]:
    """Every expression, with where it stands."""
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", ())]
    found += [(item["name"], item["expr"]) for item in board["annotations"]["list"]]
    found += [(rule.get("alert") or rule["record"], rule["expr"]) for group in _groups() for rule in group["rules"]]
    return found


def _groups() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = _yaml(RULES)["groups"]
    return groups


SAMPLES = {
    **{name: name for name in METRICS},
    **{f"{name}{end}": name for name in METRICS for end in ("_bucket", "_sum", "_count")},
}
LABELS = {
    "event_type": None, "route": None, "rule": None, "name": None, "hash": None, "instance": None, "job": {"parakh"},
    "le": None, "short": None, "outcome": {outcome.word for outcome in Outcome}, "status": set(STATUSES),
    "stage": set(STAGES), "mode": set(MODES), "result": set(DELIVERIES), "reason": set(CODES),
}  # fmt: skip
"""The labels there are; None where their values are a project's or a machine's."""


def _named(expression: str) -> set[str]:
    """The metrics that an expression reads: names that are neither labels, functions nor words of the language."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(?:by|on|group_left|group_right|without|ignoring)\s*\([^)]*\)", "", bare)
    names = re.findall(r"(?<!\w)[A-Za-z_:][\w:]*(?!\w|\s*\()", bare)
    return {name for name in names if name not in {"and", "or", "unless", "bool", "offset", "group_left", "by", "on"}}


def test_there_are_queries_of_both() -> None:
    assert len(_queries()) > 50


@pytest.mark.parametrize(("title", "expression"), _queries(), ids=lambda value: str(value)[:40])
def test_a_query_reads_metrics_that_the_service_has(title: str, expression: str) -> None:
    recorded = {rule["record"] for group in _groups() for rule in group["rules"] if "record" in rule}
    process = {
        line.split()[0] for line in Telemetry().exposition().decode().splitlines() if line.startswith("process_")
    }
    if sys.platform != "linux":
        process = {"process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"}
    known = {*SAMPLES, *recorded, *process, "up"}
    named = _named(expression)
    assert named
    assert named <= known, f"{title}: {sorted(named - known)}"
    for label, operator, value in re.findall(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"', expression):
        assert label in LABELS, f"{title}: no metric has the label {label}"
        allowed = LABELS[label]
        if allowed is not None:
            values = value.split("|") if "~" in operator else [value]
            assert set(values) <= allowed, f"{title}: {label} is never {value}"


@pytest.mark.parametrize(("title", "expression"), _queries(), ids=lambda value: str(value)[:40])
def test_a_query_is_balanced_and_ranges_stand_behind_selectors(title: str, expression: str) -> None:
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    assert bare.count('"') % 2 == 0
    open_ones = []
    pairs = {")": "(", "]": "[", "}": "{"}
    for sign in bare:
        if sign in "([{":
            open_ones.append(sign)
        elif sign in pairs:
            assert open_ones, f"{title}: {sign} closes nothing"
            assert open_ones.pop() == pairs[sign], title
    assert not open_ones, title
    # rate and its like want a range, histogram_quantile wants `le` kept.
    for function in ("rate", "increase", "changes", "deriv"):
        for inner in re.findall(rf"\b{function}\(([^()]*)\)", bare):
            assert re.search(r"\[\S+\]", inner), f"{title}: {function} without a range"
    if "histogram_quantile" in bare:
        assert re.search(r"by \([^)]*\ble\)", bare), title


def test_counters_are_read_as_rates_and_gauges_as_they_are() -> None:
    for title, expression in _queries():
        for name in _named(expression) & set(SAMPLES):
            counted = SAMPLES[name].endswith("_total") or SAMPLES[name] != name
            if counted:
                assert re.search(rf"(?:rate|increase)\({name}\b", expression), f"{title}: {name} is a counter"


def test_the_dashboard_is_whole() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert board["uid"] == "parakh"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    places: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & places, f"{panel['title']} lies over another"
        places |= cells
        if panel["type"] != "row":
            assert panel["targets"]
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    assert {item["name"] for item in board["templating"]["list"]} == {"datasource", "instance"}


def test_every_metric_is_shown() -> None:
    text = DASHBOARD.read_text(encoding="utf-8")
    assert not [name for name in METRICS if name not in text]


def _logged() -> set[str]:
    """The events that the service logs, by their names."""
    sources = (DEPLOY.parent / "src" / "parakh" / "service").rglob("*.py")
    return {
        name for path in sources for name in re.findall(r'_log\.\w+\(\s*"([^"]+)"', path.read_text(encoding="utf-8"))
    }


def test_an_alert_says_what_how_urgent_and_what_to_do() -> None:
    names = []
    for rule in (rule for group in _groups() for rule in group["rules"] if "alert" in rule):
        names.append(rule["alert"])
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "action"}
        for text in rule["annotations"].values():
            assert text.count("{{") == text.count("}}")
            named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", re.sub(r"\{\{.*?\}\}", "", text)))
            assert named <= set(METRICS), f"{rule['alert']}: there is no {sorted(named - set(METRICS))}"
            said = set(re.findall(r'"([^"]+)"', text))
            assert said <= _logged(), f"{rule['alert']}: nothing logs {sorted(said - _logged())}"
    assert len(names) == len(set(names)) >= 12
