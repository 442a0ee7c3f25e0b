import hashlib
import json

import pytest

from mmfuse.errors import MissingFileError, OutputError
from mmfuse.files import replacing, sha256, write_json


def write_half(path, failure):
    with replacing(path) as part:
        part.write_text("half of")
        raise failure


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "note.json"
    write_json({"a": 1}, path)
    with pytest.raises(RuntimeError, match="interrupted"):
        write_half(path, RuntimeError("interrupted"))
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["note.json"]


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path):
    path = tmp_path / "note.json"
    with pytest.raises(OutputError, match=r"note\.json.*No space left"):
        write_half(path, OSError(28, "No space left on device"))
    assert [p.name for p in tmp_path.iterdir()] == []


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="Cannot write"):
        write_json({}, tmp_path / "file" / "note.json")


def test_the_digest_is_that_of_the_content(tmp_path):
    path = tmp_path / "note"
    path.write_bytes(b"content")
    assert sha256(path) == hashlib.sha256(b"content").hexdigest()
    with pytest.raises(MissingFileError, match="nowhere"):
        sha256(tmp_path / "nowhere")
