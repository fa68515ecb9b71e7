"""Fixtures: a model, trained once, and the service around it."""

import warnings
from pathlib import Path

import pytest

from inference.app import create_app
from inference.config import Settings
from inference.predictor import Predictor
from inference.runtime import artifact
from tests.models import LIMITS, make_app
from training import importing, sources
from training.__main__ import train
from training.output import write_model


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    """The model from a training run, or the imported one."""
    path = tmp_path_factory.mktemp("model") / "model"
    source = sources.read()
    if source:
        served = Path(Settings().model_path)
        if not sources.is_here(served):
            importing.take(served, source)
        write_model(path, artifact.read(served).content)
        return path
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        # An estimator may warn about things that are no errors, such as missing convergence or this machine.
        warnings.simplefilter("default")
        write_model(path, train())
    return path


@pytest.fixture(scope="module")
def card(request):
    """The model's card, or the CARD of a test module with its own model."""
    if hasattr(request.module, "CARD"):
        return request.module.CARD
    model = artifact.read(request.getfixturevalue("model_path"))
    return Predictor.load(model.content).card


@pytest.fixture(scope="module")
def row(card):
    """An instance that the model must be able to answer."""
    return card.example


@pytest.fixture
def app(request, tmp_path, monkeypatch):
    """The service, with limits small enough to reach in tests."""
    if hasattr(request.module, "CARD"):
        return make_app(request.module.CARD, tmp_path, monkeypatch)
    return create_app(Settings(model_path=str(request.getfixturevalue("model_path")), **LIMITS))


@pytest.fixture
def client(app):
    """An in-process client of the service."""
    return app.test_client()
