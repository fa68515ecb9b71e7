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
    """The model of a training run, or the one that was imported."""
    path = tmp_path_factory.mktemp("model") / "model"
    source = sources.read()
    if source:
        served = Path(Settings().model_path)
        if not sources.is_here(served):
            importing.take(served, source)
        write_model(path, artifact.read(served).content)
        return path
    with warnings.catch_warnings():
        # An estimator may warn of what is no fault: that it has not converged, or of this machine.
        warnings.simplefilter("default")
        write_model(path, train())
    return path


@pytest.fixture(scope="module")
def card(request):
    """What the model says about itself, or the CARD of a module that has a model of its own."""
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
    """The service, with small limits that tests can reach."""
    if hasattr(request.module, "CARD"):
        return make_app(request.module.CARD, tmp_path, monkeypatch)
    return create_app(Settings(model_path=str(request.getfixturevalue("model_path")), **LIMITS))


@pytest.fixture
def client(app):
    """A client of the service, in this process."""
    return app.test_client()
