import pickle

import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.checkpoint import load, read, require_same_model, save, whole
from mmfuse.errors import CheckpointError, MissingFileError
from mmfuse.fusion import ConcatFusion, GatedFusion
from mmfuse_encoders import LinearEncoder, MLPEncoder


def small_model(fusion=ConcatFusion, width=3, mean=(0.0, 1.0, 2.0)):
    spec = DataSpec(
        {
            "a": ModalitySpec("vector", (3,), mean=mean, std=(1.0, 2.0, 3.0)),
            "b": ModalitySpec.of(width),
        },
        {"y": TargetSpec("multiclass", ("red", "green", "blue"))},
    )
    encoders = {"a": MLPEncoder(spec.modalities["a"], 8), "b": LinearEncoder(width, 4)}
    return FusionModel(spec, encoders, fusion({"a": 8, "b": 4}))


def batch(rows=5):
    torch.manual_seed(1)
    present = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0], [1, 1]]).bool()
    return Batch(("a", "b"), {"a": torch.randn(rows, 3), "b": torch.randn(rows, 3)}, present)


def test_a_saved_model_loads_with_its_preprocessing_and_says_the_same(tmp_path):
    model = small_model().eval()
    loaded = load(save(model, tmp_path / "deep" / "model.ckpt"))
    assert torch.equal(loaded(batch()).logits["y"], model(batch()).logits["y"])
    assert loaded.spec == model.spec
    assert not loaded.training


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"no checkpoint at .*nowhere\.ckpt"):
        load(tmp_path / "nowhere.ckpt")


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_a_truncated_checkpoint_is_corrupt(tmp_path, keep):
    path = save(small_model(), tmp_path / "model.ckpt")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match="corrupt"):
        load(path)


class Trap:
    def __reduce__(self):
        return (print, ("a checkpoint must not run code",))


def test_a_checkpoint_with_pickled_objects_is_refused_and_runs_nothing(tmp_path, capsys):
    path = tmp_path / "trap.ckpt"
    torch.save({"mmfuse": Trap()}, path)
    with pytest.raises(CheckpointError):
        load(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError):
        load(path)
    assert capsys.readouterr().out == ""


def test_a_checkpoint_cannot_name_any_callable_it_likes(tmp_path):
    path = save(small_model(), tmp_path / "model.ckpt")
    content = read(path)
    content["mmfuse"]["model"]["fusion"] = {"class_path": "os.system", "init_args": {}}
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"os\.system is not a Fusion"):
        load(path)


def test_another_programs_checkpoint_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="not made by mmfuse"):
        load(tmp_path / "other.ckpt")


def test_a_later_format_names_the_version_to_install(tmp_path):
    path = save(small_model(), tmp_path / "model.ckpt")
    content = read(path)
    content["mmfuse"] |= {"format": 99, "version": "9.9"}
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"Install mmfuse 9\.9"):
        load(path)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    path = save(small_model(), tmp_path / "model.ckpt")
    content = read(path)
    content["state_dict"].popitem()
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="do not fit"):
        load(path)


def test_a_checkpoint_of_another_model_says_what_differs(tmp_path):
    content = read(save(small_model(GatedFusion), tmp_path / "model.ckpt"))
    with pytest.raises(CheckpointError, match=r"fusion\.class_path: checkpoint has .*GatedFusion"):
        require_same_model(small_model(ConcatFusion), content)
    with pytest.raises(CheckpointError, match=r"modalities\.b\.shape"):
        require_same_model(small_model(GatedFusion, width=4), content)


def test_the_checkpoints_statistics_win_over_the_datas(tmp_path):
    content = read(save(small_model(mean=(5.0, 5.0, 5.0)), tmp_path / "model.ckpt"))
    taken = require_same_model(small_model(), content)
    assert taken.spec.modalities["a"].mean == (5.0, 5.0, 5.0)


def test_stated_defaults_are_no_difference():
    stated = {"out_dim": 128, "hidden": 128, "fill": "zero", "flag": False}
    content = whole(small_model(lambda dims: ConcatFusion(dims, **stated)))
    require_same_model(small_model(ConcatFusion), content)
    content = whole(small_model(lambda dims: ConcatFusion(dims, flag=True)))
    with pytest.raises(CheckpointError, match=r"init_args\.flag: checkpoint has True"):
        require_same_model(small_model(ConcatFusion), content)
