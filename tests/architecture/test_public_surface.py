"""The public names are sorted, complete and documented, and change only on purpose."""

import ast
import inspect

import pytest
from commands import golden

import diptych

PUBLIC = [(name, getattr(diptych, name)) for name in diptych.__all__]


def surface():
    """One line per public name; functions with their parameters' names."""
    return "".join(f"{name}{_parameters(value) if inspect.isfunction(value) else ''}\n" for name, value in PUBLIC)


def _parameters(function):
    bare = {"annotation": inspect.Parameter.empty, "default": inspect.Parameter.empty}
    return f"({', '.join(str(one.replace(**bare)) for one in inspect.signature(function).parameters.values())})"


def test_type_checkers_see_the_names_of_all():
    (block,) = [
        node
        for node in ast.parse(inspect.getsource(diptych)).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    imported = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert diptych.__all__ == sorted(imported)


def test_dir_lists_the_public_names_and_others_are_no_attributes():
    assert {*diptych.__all__, "__version__"} == set(dir(diptych))
    with pytest.raises(AttributeError, match="module 'diptych' has no attribute 'tarin'"):
        _ = diptych.tarin


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=diptych.__all__)
def test_a_public_name_is_documented(name, value):
    assert name == value.__name__
    assert inspect.getdoc(value).partition("\n")[0].endswith(".")
    if inspect.isfunction(value):
        wanted = ["Raises:", *(f"    {parameter}: " for parameter in inspect.signature(value).parameters)]
        assert [] == [text for text in wanted if text not in inspect.getdoc(value)]


def test_public_names_change_only_on_purpose():
    assert golden("public_names.txt", surface()) == surface()
