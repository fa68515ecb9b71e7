"""The worked sample of each framework passes as generated, and the service answers as the framework does."""

import os
import shutil

import pytest
from conftest import CHOICES, ROOT, BakedProject
from served import ask_by_page, serving
from test_project import MODEL_TESTS, SAMPLES, follow_readme

pytestmark = pytest.mark.slow


# test_project covers those of SAMPLES.
FRAMEWORKS = [name for name in CHOICES["model_framework"] if name not in SAMPLES]


@pytest.fixture(params=FRAMEWORKS)
def project(request, train):
    """A trained project of a framework."""
    if request.param == "pytorch" and not os.environ.get("TORCH_WHEELS"):
        pytest.skip("needs PyTorch: set TORCH_WHEELS to a folder with its wheel")
    if request.param == "lightgbm":
        request.getfixturevalue("openmp")
    return train(model_framework=request.param)


def test_project_passes_as_generated(project):
    assert "passed" in project.check("make", "test", "lint", f"PYTEST_ARGS={' '.join(MODEL_TESTS)}")


def test_own_model_as_the_readme_describes_it(project, tmp_path):
    if project.has_file("model/source.json"):
        pytest.skip("trains no model")
    copy = BakedProject(tmp_path / "copy")
    shutil.copytree(project.path, copy.path, symlinks=True)
    follow_readme(copy)


def test_page_answers_the_sample(project, browser):
    with serving(project) as url:
        ask_by_page(browser, url)


def test_served_sample_agrees_with_its_framework(project):
    if project.has_file("model/source.json"):
        pytest.skip("trains no model: test_import has others")
    shutil.copy(ROOT / "tests/compare_model.py", project.path)
    assert "100 instances agree" in project.check(".venv/bin/python", "compare_model.py")
