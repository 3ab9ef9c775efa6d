import pickle

import pytest

from polylens import errors
from polylens.errors import STATUS_AND_EXIT, ImageError, PolylensError, exit_code, http_status


def walk(cls: type[PolylensError]) -> list[type[PolylensError]]:
    return [cls, *(below for child in cls.__subclasses__() for below in walk(child))]


EVERY_ERROR = walk(PolylensError)
BELOW_THE_ROOT = EVERY_ERROR[1:]


def test_the_table_has_every_class_and_no_other() -> None:
    assert set(STATUS_AND_EXIT) == set(EVERY_ERROR)


def test_every_class_lives_in_the_one_module() -> None:
    assert {cls.__module__ for cls in EVERY_ERROR} == {errors.__name__}


@pytest.mark.parametrize("cls", EVERY_ERROR)
def test_status_and_exit_code_are_of_the_right_kind(cls: type[PolylensError]) -> None:
    error = cls("a message")
    assert 400 <= http_status(error) <= 599
    assert 1 <= exit_code(error) <= 63  # from 64 on numbers mean something to shells and to sysexits


def test_errors_of_different_branches_differ_in_their_exit_code() -> None:
    branches = {cls: {STATUS_AND_EXIT[below][1] for below in walk(cls)} for cls in PolylensError.__subclasses__()}
    codes = [code for branch in branches.values() for code in branch]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("cls", BELOW_THE_ROOT)
def test_every_error_is_a_standard_one_too(cls: type[PolylensError]) -> None:
    standard = [base for base in cls.__mro__ if base.__module__ == "builtins"]
    assert standard[0] is not Exception


@pytest.mark.parametrize("cls", EVERY_ERROR)
def test_an_error_survives_the_way_between_processes(cls: type[PolylensError]) -> None:
    copy = pickle.loads(pickle.dumps(cls("a message")))
    assert type(copy) is cls
    assert str(copy) == "a message"


def test_an_image_error_keeps_its_index_between_processes() -> None:
    copy = pickle.loads(pickle.dumps(ImageError("the file ends early", index=3)))
    assert (copy.index, copy.message, str(copy)) == (3, "the file ends early", "image 3: the file ends early")


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = [line.split("--")[1].split()[0] for line in (errors.__doc__ or "").splitlines() if "--" in line]
    assert sorted(drawn) == sorted(cls.__name__ for cls in BELOW_THE_ROOT)


@pytest.mark.parametrize("cls", BELOW_THE_ROOT)
def test_the_drawn_tree_names_the_standard_error(cls: type[PolylensError]) -> None:
    line = next(line for line in (errors.__doc__ or "").splitlines() if f"-- {cls.__name__} " in line)
    standard = [base.__name__ for base in cls.__bases__ if base.__module__ == "builtins"]
    assert all(f"({name})" in line for name in standard)


@pytest.mark.parametrize("cls", EVERY_ERROR)
def test_every_class_says_what_it_means(cls: type[PolylensError]) -> None:
    assert cls.__doc__ and cls.__doc__ != cls.__bases__[0].__doc__
