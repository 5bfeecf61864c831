"""Settings: four places in one order, one shape for each, mistakes with their place, secrets never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from parakh.errors import Problem, ProjectError
from parakh.project.keys import Length, Size
from parakh.service.problems import CODES
from parakh.service.settings import SETTINGS, ServiceSettings, rate_per_s, read_service_settings

NOTHING: dict[str, str] = {}


def problems_of(folder: Path, environment: dict[str, str] = NOTHING, **options: str) -> tuple[Problem, ...]:
    with pytest.raises(ProjectError) as raised:
        read_service_settings(folder, environment=environment, options=options)
    return raised.value.problems


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    settings = read_service_settings(tmp_path, environment=NOTHING)
    assert settings == ServiceSettings(tmp_path)
    assert settings.host == "127.0.0.1"
    assert settings.port == 8321
    assert settings.limits.event_bytes == 2**20
    assert settings.limits.batch_bytes == 64 * 2**20
    assert settings.limits.depth == 64
    assert settings.limits.in_flight == 2_000
    assert settings.log.keep_us is None
    assert settings.is_loopback


def test_the_command_line_goes_before_the_environment_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text('port = 1\nhost = "10.0.0.1"\n[limits]\ndepth = 3\n')
    environment = {"PARAKH_PORT": "2", "PARAKH_HOST": "10.0.0.2"}
    settings = read_service_settings(tmp_path, environment=environment, options={"port": "3", "host": None})
    assert (settings.port, settings.host, settings.limits.depth) == (3, "10.0.0.2", 3)
    assert not settings.is_loopback


def test_config_names_another_file_which_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text("port = 1\n")
    other = tmp_path / "other.toml"
    with pytest.raises(ProjectError, match="there is no file"):
        read_service_settings(tmp_path, config=other, environment=NOTHING)
    other.write_text("port = 9\n")
    assert read_service_settings(tmp_path, config=other, environment=NOTHING).port == 9


SAMPLES = {"host": "10.1.2.3", "port": "99", "limits.rate": "30/m"}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.dotted)
def test_each_setting_is_read_alike_from_file_environment_and_command_line(setting, tmp_path: Path) -> None:
    (tmp_path / "there.pem").write_text("x")
    if setting.table == "tls":
        text, beside = str(tmp_path / "there.pem"), {"PARAKH_TLS_CERTIFICATE": str(tmp_path / "there.pem")}
        beside["PARAKH_TLS_KEY"] = beside["PARAKH_TLS_CERTIFICATE"]
    else:
        by_shape = {Size: "2MB", Length: "7d"}
        text, beside = SAMPLES.get(setting.dotted) or by_shape.get(type(setting.shape), "7"), {}
        if setting.dotted == "webhooks.timeout":
            text = "3s"
    beside.pop(setting.variable, None)
    by_option = read_service_settings(tmp_path, environment=beside, options={setting.dotted: text})
    by_variable = read_service_settings(tmp_path, environment={**beside, setting.variable: text})
    assert by_option == by_variable
    assert by_option != read_service_settings(tmp_path, environment=NOTHING)
    if setting.secret:
        return
    quoted = text if text.isdigit() else f'"{text}"'
    header = f"[{setting.table}]\n" if setting.table else ""
    (tmp_path / "service.toml").write_text(f"{header}{setting.name} = {quoted}\n")
    assert read_service_settings(tmp_path, environment=beside) == by_option


def test_every_mistake_is_told_with_its_place_and_a_hint(tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text('prot = 1\nport = 70000\n[limits]\nevent = "1XB"\ndepht = 3\nrate = "5/h"\n')
    problems = problems_of(tmp_path, {"PARAKH_POTR": "1", "PARAKH_LIMITS_FOO": "2", "PARAKH_LOG_KEEP": "soon"})
    said = "\n".join(map(str, problems))
    for words in (
        ":1:1: unknown key 'prot'", "did you mean port?", ":2:8: `port` must be between 0 and 65535",
        ":4:9: `event` of [limits] must be a size", ":5:1: unknown key 'depht'", "did you mean depth?",
        "must be a rate such as 500/s", "unknown variable PARAKH_POTR", "did you mean PARAKH_PORT?",
        "unknown variable PARAKH_LIMITS_FOO", "PARAKH_LOG_KEEP must be a length of time",
    ):  # fmt: skip
        assert words in said
    assert len(problems) == 8


def test_variables_of_other_parts_are_left_alone(tmp_path: Path) -> None:
    others = {"PARAKH_MASTER_KEY": "x", "PARAKH_MASTER_KEY_FILE": "y", "PARAKH_DEBUG": "1", "PARAKH_API_KEY": "z"}
    assert read_service_settings(tmp_path, environment=others) == ServiceSettings(tmp_path)


@pytest.mark.parametrize("written", ['"hush"', '["hush"]', "'hush'", '{a = "hush"}'])
def test_a_secret_stands_in_no_file_and_no_message(written: str, tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text(f"[tls]\nkey_password = {written}\n")
    said = "\n".join(map(str, problems_of(tmp_path)))
    assert said
    assert "hush" not in said


def test_a_secret_is_not_in_the_settings_text(tmp_path: Path) -> None:
    settings = read_service_settings(tmp_path, environment={"PARAKH_TLS_KEY_PASSWORD": "hush"})
    assert settings.tls.key_password == "hush"
    assert "hush" not in repr(settings)


def test_tls_needs_both_files(tmp_path: Path) -> None:
    here = tmp_path / "a.pem"
    here.write_text("x")
    assert "`tls.key` is missing" in problems_of(tmp_path, **{"tls.certificate": str(here)})[0].message
    gone = str(tmp_path / "gone.pem")
    said = problems_of(tmp_path, **{"tls.certificate": str(here), "tls.key": gone})
    assert [problem.message for problem in said] == [f"`tls.key`: there is no file {gone}"]
    assert "has none of its own" in problems_of(tmp_path, **{"tls.client_ca": str(here)})[0].message


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("example.com", False), ("localhost.example.com", False)],
)  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:
    assert ServiceSettings(Path(), host=host).is_loopback is loopback


@pytest.mark.parametrize("text", ["", "5", "0/s", "5/h", "-1/s", "5 /s", "٣/s", "99999999/s"])
def test_what_is_no_rate(text: str) -> None:
    assert rate_per_s(text) is None


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"port = ", b"= 3", b"[limits", b"limits = 3", b"[[limits]]\n", b"\x00"]
)
def test_a_file_that_is_none_is_told_and_nothing_breaks(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_bytes(content)
    assert problems_of(tmp_path)


PAGE = Path(__file__).resolve().parents[2] / "docs" / "access.md"


def test_the_page_on_access_has_every_setting_and_every_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for setting in SETTINGS:
        name = "-" if setting.secret else f"`{setting.dotted}`"
        assert f"| {name} | `{setting.variable}` | {setting.description} |" in text
    table = text.partition("## Problems")[2]
    for code, (status, _) in CODES.items():
        assert any(line.startswith(f"| {status} |") and f"`{code}`" in line for line in table.splitlines()), code
