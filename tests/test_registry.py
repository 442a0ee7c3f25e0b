import abc
import importlib
import textwrap

import pytest

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion, Fusion
from mmfuse.fusion.base import LateFusion, PooledFusion
from mmfuse.missing import MCAR, Missingness
from mmfuse.objectives import Objective, SupervisedLoss
from mmfuse.registry import entries, import_all, known, resolve
from mmfuse_encoders import MLPEncoder


class Shape(abc.ABC):
    """A kind of component that only this file knows."""

    @abc.abstractmethod
    def area(self): ...


class Circle(Shape):
    """A round one.

    Further words.

    Reference: Euclid, "Elements",
        book III.

    Departs from Euclid: nothing.
    """

    def area(self):
        return 3


class Disc(Circle):
    """A filled one."""


class _Secret(Shape):
    def area(self):
        return 0


@pytest.fixture
def other_package(tmp_path, monkeypatch):
    """A package that somebody else installed, with an entry point for its fusions."""

    def install(entry="their_fusion"):
        (tmp_path / "their_fusion.py").write_text(
            textwrap.dedent(
                '''
                from mmfuse.fusion import ConcatFusion

                class TheirFusion(ConcatFusion):
                    """What they do."""
                '''
            )
        )
        info = tmp_path / "their_fusion-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-fusion\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[mmfuse.fusion]\ntheirs = {entry}\n")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()

    return install


@pytest.mark.parametrize(
    ("base", "cls"),
    [
        (Fusion, ConcatFusion),
        (Encoder, MLPEncoder),
        (Objective, SupervisedLoss),
        (Missingness, MCAR),
    ],
)
def test_the_components_of_the_library_are_known_by_their_short_names(base, cls):
    assert known(base)[cls.__name__] is cls
    assert resolve(base, cls.__name__) is cls


def test_subclasses_of_subclasses_are_known_and_the_abstract_and_private_are_not():
    assert known(Shape) == {"Circle": Circle, "Disc": Disc}
    assert not {c.__name__ for c in (Fusion, PooledFusion, LateFusion)} & known(Fusion).keys()


def test_a_class_inside_a_function_is_not_known():
    class Square(Circle):
        pass

    assert "Square" not in known(Shape)


def test_names_come_sorted():
    names = list(known(Fusion))
    assert names == sorted(names)


def test_a_dotted_path_needs_no_registration():
    assert resolve(Fusion, "mmfuse.fusion.ConcatFusion") is ConcatFusion
    assert resolve(Fusion, "mmfuse.fusion.concat.ConcatFusion") is ConcatFusion


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ConfigError) as caught:
        resolve(Shape, "Circel")
    assert str(caught.value) == (
        "Unknown Shape 'Circel'. Did you mean 'Circle'? Known: Circle, Disc. A class of your own "
        "is named by its dotted path, such as 'my_package.MyShape'."
    )


def test_a_name_like_no_other_gets_no_guess():
    with pytest.raises(ConfigError, match=r"Unknown Shape 'xyzzy'\. Known: Circle, Disc"):
        resolve(Shape, "xyzzy")


@pytest.mark.parametrize("name", ["no_such_package.Fusion", "mmfuse.fusion.NoSuch", ".Fusion"])
def test_a_path_that_leads_nowhere_is_named(name):
    with pytest.raises(ConfigError, match="Cannot import Fusion"):
        resolve(Fusion, name)


@pytest.mark.parametrize("name", ["os.path.join", "mmfuse_encoders.MLPEncoder"])
def test_a_path_to_another_kind_of_thing_is_refused(name):
    with pytest.raises(ConfigError, match="is not a Fusion"):
        resolve(Fusion, name)


def test_an_entry_for_the_list_has_the_first_line_and_the_paper():
    circle = entries(Shape)[0]
    assert (circle.name, circle.summary) == ("Circle", "A round one.")
    assert circle.reference == 'Euclid, "Elements", book III.'
    assert entries(Shape)[1].reference == ""


def test_every_component_of_the_library_says_what_it_does():
    for base in (Fusion, Encoder, Objective, Missingness):
        for entry in entries(base):
            cls = known(base)[entry.name]
            if cls.__module__.startswith("mmfuse"):
                assert entry.summary.endswith("."), entry.name


def test_an_entry_point_of_another_package_makes_its_classes_known(other_package):
    assert "TheirFusion" not in known(Fusion)
    other_package()
    found = resolve(Fusion, "TheirFusion")
    assert found.__module__ == "their_fusion"
    assert found({"a": 2}).dims == {"a": 2}


def test_an_entry_point_that_cannot_be_imported_names_the_package_at_fault(other_package):
    other_package(entry="their_fusion_that_moved")
    with pytest.raises(
        ConfigError, match=r"^their-fusion announces 'their_fusion_that_moved' under mmfuse.fusion"
    ):
        import_all()
