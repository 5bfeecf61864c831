"""The token key survives restarts, rotations and crashes in them; a wrong master key is an error, never a new key."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from parakh.cli.main import run
from parakh.service.personal import vault
from parakh.service.personal.vault import SecretsError, open_token_key, rotate_master_key, show_keys

ONE, TWO = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_once(tmp_path: Path) -> None:
    first = open_token_key(tmp_path, {})
    again = open_token_key(tmp_path, {})
    assert first.master_made
    assert not again.master_made
    assert first.key == again.key
    assert len(first.key) == 32
    assert mode(tmp_path / "keys") == 0o700
    assert {path.name: mode(path) for path in (tmp_path / "keys").iterdir()} == {
        "token.key": 0o600,
        "master.key": 0o600,
    }


def test_every_directory_has_its_own_key(tmp_path: Path) -> None:
    assert open_token_key(tmp_path / "a", {}).key != open_token_key(tmp_path / "b", {}).key


def test_the_environment_gives_the_master_key(tmp_path: Path) -> None:
    made = open_token_key(tmp_path, {"PARAKH_MASTER_KEY": ONE})
    assert not made.master_made
    assert not (tmp_path / "keys" / "master.key").exists()
    file = tmp_path / "elsewhere"
    file.write_text(ONE + "\n")
    assert open_token_key(tmp_path, {"PARAKH_MASTER_KEY_FILE": str(file)}).key == made.key


def test_neither_keys_nor_their_bytes_are_told_or_stored(tmp_path: Path) -> None:
    opened = open_token_key(tmp_path, {"PARAKH_MASTER_KEY": ONE})
    shown = show_keys(tmp_path, {"PARAKH_MASTER_KEY": ONE})
    content = (tmp_path / "keys" / "token.key").read_bytes()
    for secret in (opened.key, bytes([1]) * 32):
        for form in (secret.hex(), base64.b64encode(secret).decode(), repr(secret)):
            assert form not in repr(opened) + repr(shown)
            assert form.encode() not in content
        assert secret not in content


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PARAKH_MASTER_KEY": TWO}, "is not the one that wraps the token key"),
        ({"PARAKH_MASTER_KEY": "short"}, "is not a master key"),
        ({"PARAKH_MASTER_KEY": base64.b64encode(bytes(16)).decode()}, "is not a master key"),
        ({}, "no master key is given"),
        ({"PARAKH_MASTER_KEY": ONE, "PARAKH_MASTER_KEY_FILE": "x"}, "are both set"),
        ({"PARAKH_MASTER_KEY_FILE": "/nowhere/at/all"}, "No such file"),
    ],
)
def test_a_wrong_master_key_is_an_error_and_changes_nothing(
    tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    open_token_key(tmp_path, {"PARAKH_MASTER_KEY": ONE})
    before = {path: path.read_bytes() for path in (tmp_path / "keys").iterdir()}
    for use in (open_token_key, show_keys, rotate_master_key):
        with pytest.raises(SecretsError, match=said) as caught:
            use(tmp_path, environment)
        assert ONE not in str(caught.value)
        assert TWO not in str(caught.value)
    assert {path: path.read_bytes() for path in (tmp_path / "keys").iterdir()} == before


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"nonce": 1, "wrapped": 2, "master": 3}', b"\xff"])
def test_a_damaged_key_is_an_error(tmp_path: Path, content: bytes) -> None:
    open_token_key(tmp_path, {})
    (tmp_path / "keys" / "token.key").write_bytes(content)
    with pytest.raises(SecretsError, match="damaged"):
        open_token_key(tmp_path, {})


def test_every_changed_byte_of_the_wrapped_key_is_seen(tmp_path: Path) -> None:
    open_token_key(tmp_path, {})
    path = tmp_path / "keys" / "token.key"
    held = json.loads(path.read_bytes())
    for name in ("nonce", "wrapped"):
        whole = base64.b64decode(held[name])
        for place in range(len(whole)):
            changed = bytes(byte ^ (1 if at == place else 0) for at, byte in enumerate(whole))
            path.write_text(json.dumps({**held, name: base64.b64encode(changed).decode()}))
            with pytest.raises(SecretsError, match="damaged"):
                open_token_key(tmp_path, {})


def test_where_tokens_are_stored_no_key_is_made(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match="missing"):
        open_token_key(tmp_path, {}, make=False)
    assert not (tmp_path / "keys").exists()
    with pytest.raises(SecretsError, match="has no keys"):
        show_keys(tmp_path, {})


def test_tokens_outlive_a_rotation(tmp_path: Path) -> None:
    before = open_token_key(tmp_path, {})
    old_master = (tmp_path / "keys" / "master.key").read_bytes()
    shown = rotate_master_key(tmp_path, {})
    after = open_token_key(tmp_path, {})
    assert before.tokens().of("4111111111111111") == after.tokens().of("4111111111111111")
    assert shown.token_fingerprint == before.fingerprint
    assert (tmp_path / "keys" / "master.key").read_bytes() != old_master
    with pytest.raises(SecretsError, match="not the one"):
        open_token_key(tmp_path, {"PARAKH_MASTER_KEY": old_master.decode().strip()})


def test_the_master_key_moves_to_the_environment_and_on(tmp_path: Path) -> None:
    key = open_token_key(tmp_path, {}).key
    assert show_keys(tmp_path, {}).beside_data
    assert not rotate_master_key(tmp_path, {"PARAKH_NEW_MASTER_KEY": ONE}).beside_data
    assert not (tmp_path / "keys" / "master.key").exists()
    with pytest.raises(SecretsError, match="no master key is given"):
        open_token_key(tmp_path, {})
    assert open_token_key(tmp_path, {"PARAKH_MASTER_KEY": ONE}).key == key
    with pytest.raises(SecretsError, match="give the new one by"):
        rotate_master_key(tmp_path, {"PARAKH_MASTER_KEY": ONE})
    with pytest.raises(SecretsError, match="is the old one"):
        rotate_master_key(tmp_path, {"PARAKH_MASTER_KEY": ONE, "PARAKH_NEW_MASTER_KEY": ONE})
    rotate_master_key(tmp_path, {"PARAKH_MASTER_KEY": ONE, "PARAKH_NEW_MASTER_KEY": TWO})
    assert open_token_key(tmp_path, {"PARAKH_MASTER_KEY": TWO}).key == key


def test_a_crash_at_any_step_of_a_rotation_leaves_keys_that_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = tmp_path / "begun"
    key = open_token_key(begun, {}).key
    replace, fsync = os.replace, os.fsync
    for stop in range(40):
        data = tmp_path / str(stop)
        shutil.copytree(begun, data)
        steps = 0

        def step(stop: int = stop) -> None:
            nonlocal steps
            if steps == stop:
                raise KeyboardInterrupt
            steps += 1

        def stopping_replace(source: object, target: object) -> None:
            step()
            replace(source, target)  # type: ignore[arg-type]
            step()

        def stopping_fsync(descriptor: int) -> None:
            step()
            fsync(descriptor)

        with monkeypatch.context() as patched:
            patched.setattr(vault.os, "replace", stopping_replace)
            patched.setattr(vault.os, "fsync", stopping_fsync)
            try:
                rotate_master_key(data, {})
                finished = True
            except KeyboardInterrupt:
                finished = False
        assert open_token_key(data, {}).key == key
        rotate_master_key(data, {})
        assert open_token_key(data, {}).key == key
        if finished:
            assert stop > 6
            return
    pytest.fail("the rotation did not come to its end")


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("PARAKH_MASTER_KEY", "PARAKH_MASTER_KEY_FILE", "PARAKH_NEW_MASTER_KEY", "PARAKH_NEW_MASTER_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert run(["secrets", "show", str(tmp_path)]) == 1
    assert "has no keys" in capsys.readouterr().err
    opened = open_token_key(tmp_path, {})
    assert run(["secrets", "show", str(tmp_path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["token_fingerprint"] == opened.fingerprint
    assert run(["secrets", "show", str(tmp_path)]) == 0
    assert "stands beside the data" in capsys.readouterr().out
    assert run(["secrets", "rotate", str(tmp_path)]) == 0
    capsys.readouterr()
    new = tmp_path / "new"
    new.write_text(ONE)
    monkeypatch.setenv("PARAKH_NEW_MASTER_KEY_FILE", str(new))
    assert run(["secrets", "rotate", str(tmp_path), "--json"]) == 0
    rotated = json.loads(capsys.readouterr().out)
    assert rotated["token_fingerprint"] == opened.fingerprint
    assert rotated["master_source"] == str(new)
    monkeypatch.delenv("PARAKH_NEW_MASTER_KEY_FILE")
    monkeypatch.setenv("PARAKH_MASTER_KEY", TWO)
    assert run(["secrets", "show", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "not the one" in told.err
    assert TWO not in told.out + told.err
