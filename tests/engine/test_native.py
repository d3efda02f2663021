"""Native kernels are compiled once, kept, and done without where they cannot be."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.engine import native
from cluster.engine.native import find_compiler, load_library

SOURCE = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    load_library.cache_clear()
    yield
    load_library.cache_clear()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "answer.cpp"
    path.write_text(SOURCE)
    return path


@pytest.mark.skipif(find_compiler() is None, reason="needs a C++ compiler")
def test_a_library_is_compiled_once_and_again_when_its_source_changes(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = load_library(source, ())
    assert library is not None
    assert library.answer() == 42
    load_library.cache_clear()
    with monkeypatch.context() as without:
        without.setattr(subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
        assert load_library(source, ()) is not None
    load_library.cache_clear()
    source.write_text(SOURCE.replace("42", "43"))
    changed = load_library(source, ())
    assert changed is not None
    assert changed.answer() == 43
    assert len(list(native.cache_folder().iterdir())) == 2


@pytest.mark.skipif(find_compiler() is None, reason="needs a C++ compiler")
def test_what_the_compiler_says_is_in_the_log(
    source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source.write_text("int answer() { return forty_two; }")
    assert load_library(source, ()) is None
    assert "forty_two" in caplog.text
    assert list(native.cache_folder().iterdir()) == []


def test_without_a_compiler_there_is_no_library(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert load_library(source, ()) is None
    assert "no C++ compiler" in caplog.text


def test_a_cache_that_cannot_be_written_is_told(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(native, "find_compiler", lambda: ["c++"])
    assert load_library(source, ()) is None
    assert "not compiled" in caplog.text


@pytest.mark.skipif(find_compiler() is None, reason="needs a C++ compiler")
def test_a_library_that_cannot_be_loaded_is_compiled_again(source: Path) -> None:
    assert load_library(source, ()) is not None
    (library,) = native.cache_folder().iterdir()
    library.unlink()  # not written in place: the old file may be mapped
    library.touch()
    load_library.cache_clear()
    again = load_library(source, ())
    assert again is not None
    assert again.answer() == 42


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_can_write_to_is_not_used(
    source: Path, mode: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    native.cache_folder().chmod(mode)
    monkeypatch.setattr(native, "find_compiler", lambda: ["c++"])
    assert load_library(source, ()) is None
    assert "set XDG_CACHE_HOME" in caplog.text


def test_a_user_without_a_home_does_without(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(native, "find_compiler", lambda: ["c++"])
    assert load_library(source, ()) is None
    assert "home directory" in caplog.text


def test_a_compiler_may_be_named_with_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "env -u LANG c++")
    found = find_compiler()
    assert found is not None
    assert found[1:] == ["-u", "LANG", "c++"]


def test_a_cpu_without_a_feature_compiles_nothing(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("compiled"))
    assert load_library(source, ("no-such-feature",)) is None
