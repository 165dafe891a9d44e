"""The shape of the project: sizes, public names, laziness, and documentation of every verb."""

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sspnerf
from sspnerf import cli, config

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "sspnerf").rglob("*.py"))


def test_no_file_is_longer_than_400_lines():
    long = {str(p): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_no_function_is_longer_than_40_lines_without_its_docstring():
    long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                documented = ast.get_docstring(node) is not None
                first = node.body[1] if documented and len(node.body) > 1 else node.body[0]
                lines = (node.end_lineno or 0) - first.lineno + 1
                if lines > 40:
                    long.append(f"{path.name}:{node.name} has {lines}")
    assert not long


def test_public_names_are_sorted_and_exist():
    assert sspnerf.__all__ == sorted(sspnerf.__all__)
    assert all(getattr(sspnerf, name) is not None for name in sspnerf.__all__)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'speek'"):
        _ = sspnerf.speek


def test_help_does_not_import_torch():
    program = (
        "import sys\n"
        "from sspnerf.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'numpy', 'av', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "synth" in done.stdout


@pytest.mark.parametrize("verb", sorted(set(cli.VERBS) - {"info"}))
def test_every_verb_has_a_page_that_shows_its_command(verb):
    page = ROOT / "docs" / f"{verb}.md"
    assert page.is_file()
    assert f"sspnerf {verb} " in page.read_text()


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_verb_is_named_in_the_changelog(verb):
    assert f"`sspnerf {verb}`" in (ROOT / "CHANGELOG.md").read_text()


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_points_to_exists(page):
    text = page.read_text()
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    paths = re.findall(r"`((?:tests|src|docs|examples)/[\w./-]+)", text)
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert not missing


def test_every_setting_has_a_docstring_of_one_line():
    files = sorted((ROOT / "src" / "sspnerf" / "config").glob("*.py"))
    parts = {
        f.name for f in dataclasses.fields(config.TrainConfig) if dataclasses.is_dataclass(f.type)
    }
    missing = []
    for node in (node for file in files for node in ast.parse(file.read_text()).body):
        if not isinstance(node, ast.ClassDef):
            continue
        for item, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if not documented and item.target.id not in parts:
                    missing.append(f"{node.name}.{item.target.id}")
    assert not missing


def test_nothing_is_pickled():
    """What is read of others' pickles (published weights) is read as numbers, never run."""
    calls = [
        (path, node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]
    for path, call in calls:
        name, options = ast.unparse(call.func), [ast.unparse(each) for each in call.keywords]
        assert not name.startswith(("pickle.", "dill.", "joblib.")), path
        assert name not in ("torch.save", "read_pickle"), path
        assert name != "torch.load" or "weights_only=True" in options, path
        assert "allow_pickle=True" not in options, path


def test_presets_are_settings():
    assert all(isinstance(preset, config.TrainConfig) for preset in config.PRESETS.values())
