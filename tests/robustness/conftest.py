"""A watched place for files: what a test leaves there beside its own input is an error."""

import tempfile

import pytest


@pytest.fixture
def inbox(tmp_path, monkeypatch):
    """A folder for the damaged input. At the end there is nothing new in it, nor where temporary files go."""
    folder, temporary = tmp_path / "inbox", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield folder
    assert not list(temporary.iterdir())
    assert all(file.name.startswith("given") for file in folder.iterdir())
