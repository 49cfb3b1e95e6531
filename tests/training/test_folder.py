"""What a run may write to, and what it removes."""

import pytest

from astro_vq.errors import DataError
from astro_vq.training.folder import OURS, RunFolder


def make_run(path):
    for name in ("last", "previous"):
        (path / "checkpoints" / name).mkdir(parents=True)
        (path / "checkpoints" / name / "state.json").write_text("{}")
    (path / "config.toml").write_text("")
    return RunFolder(path)


def test_a_missing_or_empty_folder_is_fine(tmp_path):
    RunFolder(tmp_path).check(resume=False, overwrite=False)
    RunFolder(tmp_path / "new").check(resume=False, overwrite=False)
    assert not (tmp_path / "new").exists()


def test_a_folder_in_use_is_refused_and_the_message_names_the_flags(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty; replace it with --overwrite"):
        RunFolder(tmp_path).check(resume=False, overwrite=False)
    folder = make_run(tmp_path / "run")
    with pytest.raises(FileExistsError, match="continue it with --resume, or replace it"):
        folder.check(resume=False, overwrite=False)
    folder.check(resume=True, overwrite=False)
    folder.check(resume=False, overwrite=True)


def test_overwriting_is_for_run_folders_only(tmp_path):
    (tmp_path / "plots").mkdir()  # of something else
    with pytest.raises(FileExistsError, match="holds plots, but is not a run folder"):
        RunFolder(tmp_path).check(resume=False, overwrite=True)
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "metrics.csv").write_text("")
    RunFolder(tmp_path).check(resume=False, overwrite=True)


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file, not a run folder"):
        RunFolder(tmp_path / "run").check(resume=False, overwrite=True)


def test_resuming_needs_a_checkpoint(tmp_path):
    with pytest.raises(DataError, match="holds no checkpoint to resume from"):
        RunFolder(tmp_path).check(resume=True, overwrite=False)


def test_overwriting_removes_what_a_run_writes_and_nothing_else(tmp_path):
    folder = make_run(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "data").mkdir()
    folder.start(keep=True)
    assert folder.config.exists()
    folder.start(keep=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoints",
        "data",
        "notes.txt",
        "plots",
    ]
    assert not folder.has_checkpoint
    assert "notes.txt" not in OURS


def test_the_checkpoint_before_counts_while_a_new_one_is_put_in_place(tmp_path):
    folder = make_run(tmp_path)
    assert folder.last_checkpoint == tmp_path / "checkpoints" / "last"
    (folder.last_checkpoint / "state.json").unlink()
    assert folder.last_checkpoint == tmp_path / "checkpoints" / "previous"
