import json
import os

import pytest

from mmfuse.errors import OutputError
from mmfuse.files import replacing, write_json


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "note.json"
    write_json({"a": 1}, path)
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_text("half of")
        raise RuntimeError("interrupted")
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["note.json"]


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path):
    path = tmp_path / "note.json"
    with pytest.raises(OutputError, match=r"note\.json.*No space left"), replacing(path) as part:
        part.write_text("half of")
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="Cannot write"):
        write_json({}, tmp_path / "file" / "note.json")
