"""API keys: who is let in, who is not, how soon a change counts, and what is stored of a key."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.cli.main import run
from parakh.errors import InputError
from parakh.service.access import ANYBODY, LOOK_EVERY_S, Access, Caller
from parakh.service.api_keys import SCOPES, KeyStore, key_id_of
from parakh.service.problems import Problem

HOST = (b"host", b"127.0.0.1:8321")


class Clocks:
    """A wall clock and a monotonic one that go together when they are told to."""

    def __init__(self) -> None:
        self.now_us = 1_700_000_000_000_000

    def wall(self) -> int:
        return self.now_us

    def monotonic(self) -> float:
        return self.now_us / 1e6

    def pass_s(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path)


def access_of(folder: Path, clocks: Clocks, *, may_be_open: bool = True) -> Access:
    return Access(folder, may_be_open=may_be_open, clock_us=clocks.wall, monotonic=clocks.monotonic)


def bearer(text: str) -> list[tuple[bytes, bytes]]:
    return [HOST, (b"authorization", b"Bearer " + text.encode())]


def code(found: Caller | Problem) -> str:
    return found.code if isinstance(found, Problem) else "let in"


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("held", SCOPES)
def test_a_key_may_what_its_scopes_say_and_admin_may_all(
    held: str, scope: str, tmp_path: Path, store: KeyStore, clocks: Clocks
) -> None:
    _, text = store.create("shop", [held], now_us=clocks.now_us)
    access = access_of(tmp_path, clocks)
    for _ in range(2):  # the second time from what is remembered
        expected = "let in" if held in (scope, "admin") else "forbidden"
        assert code(access.check(bearer(text), scope)) == expected
        assert code(access.check([HOST, (b"x-api-key", text.encode())], scope)) == expected


def test_a_scope_that_no_route_has_lets_nobody_in(tmp_path: Path, store: KeyStore, clocks: Clocks) -> None:
    _, text = store.create("ops", ["admin"], now_us=clocks.now_us)
    assert code(access_of(tmp_path, clocks).check(bearer(text), "everything")) == "forbidden"


def test_without_a_key_nobody_is_let_in_once_one_was_made(tmp_path: Path, store: KeyStore, clocks: Clocks) -> None:
    key, _ = store.create("shop", ["read"], now_us=clocks.now_us)
    access = access_of(tmp_path, clocks)
    assert not access.open
    assert code(access.check([HOST], "read")) == "unauthorized"
    store.revoke(key.id, now_us=clocks.now_us)
    clocks.pass_s(1)
    assert code(access.check([HOST], "read")) == "unauthorized"
    assert not access.open


def test_the_open_service_serves_this_machine_alone(tmp_path: Path, clocks: Clocks) -> None:
    access = access_of(tmp_path, clocks)
    assert access.open
    assert access.check([HOST], "admin") is ANYBODY
    assert access.check([(b"host", b"localhost"), (b"origin", b"http://localhost:3000")], "read") is ANYBODY
    for headers in (
        [(b"host", b"evil.example:8321")],
        [HOST, (b"origin", b"https://evil.example")],
        [HOST, (b"origin", b"null")],
        [HOST, (b"sec-fetch-site", b"cross-site")],
        [(b"host", b"169.254.169.254")],
    ):
        assert code(access.check(headers, "read")) == "forbidden"
    assert code(access_of(tmp_path, clocks, may_be_open=False).check([HOST], "read")) == "unauthorized"


def test_a_key_counts_as_soon_as_the_server_looks_and_no_longer_when_revoked(
    tmp_path: Path, store: KeyStore, clocks: Clocks
) -> None:
    access = access_of(tmp_path, clocks)
    assert access.open
    key, text = store.create("shop", ["read"], now_us=clocks.now_us)
    clocks.pass_s(LOOK_EVERY_S)
    assert code(access.check(bearer(text), "read")) == "let in"
    assert code(access.check([HOST], "read")) == "unauthorized"
    store.revoke(key.id, now_us=clocks.now_us)
    clocks.pass_s(LOOK_EVERY_S)
    assert code(access.check(bearer(text), "read")) == "unauthorized"
    assert LOOK_EVERY_S <= 1


def test_a_key_ends_at_its_end_to_the_microsecond(tmp_path: Path, store: KeyStore, clocks: Clocks) -> None:
    _, text = store.create("shop", ["read"], now_us=clocks.now_us, expires_us=clocks.now_us + 100_000)
    access = access_of(tmp_path, clocks)
    assert code(access.check(bearer(text), "read")) == "let in"
    clocks.now_us += 99_999
    assert code(access.check(bearer(text), "read")) == "let in"
    clocks.now_us += 1
    assert code(access.check(bearer(text), "read")) == "unauthorized"


def test_wrong_keys_are_refused(tmp_path: Path, store: KeyStore, clocks: Clocks) -> None:
    _, text = store.create("shop", ["read"], now_us=clocks.now_us)
    _, other = store.create("other", ["read"], now_us=clocks.now_us)
    access = access_of(tmp_path, clocks)
    swapped = "_".join([*other.split("_")[:2], text.split("_")[2]])
    last = "a" if text[-1] != "a" else "b"
    for wrong in ("", "pk_", "pk__", text[:-1], text + "a", text[:-1] + last, text.upper(), swapped, f"x{text}",
                  "pk_" + text, text.replace("_", "-"), "a" * 10_000, "é" * 20):  # fmt: skip
        assert code(access.check(bearer(wrong), "read")) == "unauthorized"
    for scheme in (b"", b"Basic ", b"bearer:", b"Bearer"):
        assert code(access.check([(b"authorization", scheme + text.encode())], "read")) == "unauthorized"
    assert code(access.check([*bearer(text), (b"x-api-key", text.encode())], "read")) == "unauthorized"
    assert code(access.check(bearer(text) + bearer(text), "read")) == "unauthorized"
    assert code(access.check([(b"authorization", b"bearer  " + text.encode())], "read")) == "let in"


def test_what_is_remembered_of_one_header_is_not_taken_in_another(
    tmp_path: Path, store: KeyStore, clocks: Clocks
) -> None:
    _, text = store.create("shop", ["read"], now_us=clocks.now_us)
    access = access_of(tmp_path, clocks)
    assert code(access.check([(b"x-api-key", text.encode())], "read")) == "let in"
    assert code(access.check([(b"authorization", text.encode())], "read")) == "unauthorized"


ascii_bytes = st.binary(max_size=200)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"x-api-key", b"host", b"origin"]), ascii_bytes)))
def test_no_headers_whatever_let_anybody_in_or_break(headers: list[tuple[bytes, bytes]]) -> None:
    assert code(CLOSED.check(headers, "read")) == "unauthorized"
    assert code(OPEN.check(headers, "read")) in ("let in", "forbidden")


@pytest.fixture(autouse=True, scope="module")
def _two_services(tmp_path_factory: pytest.TempPathFactory) -> None:
    global CLOSED, OPEN
    clocks = Clocks()
    folder = tmp_path_factory.mktemp("closed")
    KeyStore(folder).create("shop", ["read"], now_us=clocks.now_us)
    CLOSED = access_of(folder, clocks)
    OPEN = access_of(tmp_path_factory.mktemp("open"), clocks)


CLOSED: Access
OPEN: Access


def test_what_is_remembered_is_bounded(tmp_path: Path, store: KeyStore, clocks: Clocks, monkeypatch) -> None:
    monkeypatch.setattr("parakh.service.access.MOST_REMEMBERED", 3)
    texts = [store.create(f"k{number}", ["read"], now_us=clocks.now_us)[1] for number in range(10)]
    access = access_of(tmp_path, clocks)
    for text in texts * 2:
        assert code(access.check(bearer(text), "read")) == "let in"
        assert len(access._bearer) <= 3
    for number in range(100):
        access.check(bearer(f"pk_{number:012}_x"), "read")
    assert len(access._bearer) <= 3


# -- what is stored ----------------------------------------------------------------------------------------------------


def test_no_secret_is_stored_or_shown(tmp_path: Path, store: KeyStore, clocks: Clocks) -> None:
    key, text = store.create("shop", ["read"], now_us=clocks.now_us)
    secret = text.split("_")[2]
    access = access_of(tmp_path, clocks)
    access.check(bearer(text), "read")
    assert secret not in repr(key) + repr(store.all()) + repr(access.check(bearer(text), "decide"))
    for path in tmp_path.iterdir():
        assert secret.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0, f"{path.name} can be read by others"


def test_keys_are_random_and_long_enough(store: KeyStore) -> None:
    texts = [store.create("k", ["read"], now_us=1)[1] for _ in range(200)]
    assert len({text.split("_")[1] for text in texts}) == 200
    assert len({text.split("_")[2] for text in texts}) == 200
    assert {len(text) for text in texts} == {3 + 12 + 1 + 43}
    digits = "".join(text.split("_")[2][1:] for text in texts)  # the first digit of 43 carries three bits
    assert len(set(digits)) == 62
    assert all(key_id_of(text) == text.split("_")[1] for text in texts)


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "a\x1b[2J", "x" * 65])
def test_a_name_is_a_name(name: str, store: KeyStore) -> None:
    with pytest.raises(InputError, match="name"):
        store.create(name, ["read"], now_us=1)


@pytest.mark.parametrize("scopes", [[], ["write"], ["read", "write"], ["READ"]])
def test_scopes_are_of_a_closed_list(scopes: list[str], store: KeyStore) -> None:
    with pytest.raises(InputError, match="scope"):
        store.create("shop", scopes, now_us=1)


@pytest.mark.parametrize("hostile", ["'; DROP TABLE api_keys; --", '" OR 1=1', "%", "\x00", "a" * 10_000, "é"])
def test_no_id_reaches_more_than_its_own_row(hostile: str, store: KeyStore) -> None:
    store.create("shop", ["read"], now_us=1)
    assert store.revoke(hostile, now_us=2) is None
    assert [key.revoked_us for key in store.all()] == [None]
    assert key_id_of(hostile) == ""


def test_the_first_revocation_stays(store: KeyStore) -> None:
    key, _ = store.create("shop", ["read"], now_us=1)
    store.revoke(key.id, now_us=2)
    again = store.revoke(key.id, now_us=3)
    assert again is not None
    assert again.revoked_us == 2


def test_the_database_syncs_fully_and_writes_ahead(tmp_path: Path, store: KeyStore) -> None:
    assert store._run("PRAGMA synchronous") == [(2,)]
    assert store._run("PRAGMA journal_mode") == [("wal",)]


def test_a_file_that_is_no_database_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "service.db").write_bytes(b"hello, I am no database" * 100)
    with pytest.raises(InputError, match=r"service\.db cannot be opened"):
        KeyStore(tmp_path)


def test_last_use_is_written_down_by_another_thread(tmp_path: Path, store: KeyStore, clocks: Clocks) -> None:
    used, text = store.create("used", ["read"], now_us=clocks.now_us)
    store.create("idle", ["read"], now_us=clocks.now_us)
    access = access_of(tmp_path, clocks)
    access.check(bearer(text), "read")
    clocks.pass_s(30)
    access.check(bearer(text), "read")
    thread = threading.Thread(target=access.save_last_used)
    thread.start()
    thread.join()
    assert {key.name: key.last_used_us for key in store.all()} == {"used": clocks.now_us, "idle": None}
    clocks.pass_s(30)
    assert code(access.check(bearer(text), "read")) == "let in"
    access.close()
    assert next(key.last_used_us for key in store.all() if key.id == used.id) == clocks.now_us
    with pytest.raises(apsw.ConnectionClosedError):
        access.save_last_used() or access._store.version()


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_makes_lists_and_revokes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "data")
    assert run(["key", "create", folder, "--name", "shop", "--scope", "decide", "--scope", "label", "--expires", "90d",
                "--rate", "500/s", "--json"]) == 0  # fmt: skip
    made = json.loads(capsys.readouterr().out)
    assert made["scopes"] == ["decide", "label"]
    assert made["rate_per_s"] == 500
    assert run(["key", "create", folder, "--name", "ops", "--scope", "admin"]) == 0
    text = capsys.readouterr().out
    assert text.count("pk_") == 2
    assert run(["key", "list", folder, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(key["name"], key["state"]) for key in listed] == [("shop", "active"), ("ops", "active")]
    assert "key" not in listed[0]
    assert run(["key", "revoke", folder, made["key"]]) == 0  # a whole key will do for its id
    assert "revoked shop" in capsys.readouterr().out
    assert run(["key", "list", folder]) == 0
    out = capsys.readouterr().out
    assert "revoked" in out
    assert made["key"].split("_")[2] not in out
    assert run(["key", "revoke", folder, "pk_secret_mistyped"]) == 2
    assert "mistyped" not in capsys.readouterr().err


def test_a_projects_folder_stands_for_the_data_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "parakh.toml").write_text('name = "shop"\n')
    assert run(["key", "create", str(tmp_path), "--name", "shop", "--scope", "read"]) == 0
    assert (tmp_path / ".parakh" / "service.db").is_file()
    assert run(["key", "list", str(tmp_path)]) == 0
    assert "1 key, 1 active" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["--scope", "read"], ["--name", "x"], ["--name", "x", "--scope", "all"],
     ["--name", "x", "--scope", "read", "--rate", "5"],
     ["--name", "x", "--scope", "read", "--expires", "soon"], ["--name", "x", "--scope", "read", "--expires", "0"],
     ["--name", "a\x1bb", "--scope", "read"]],
)  # fmt: skip
def test_wrong_use_is_told_and_makes_nothing(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["key", "create", str(tmp_path), *arguments]) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert run(["key", "list", str(tmp_path / "none")]) == 2
