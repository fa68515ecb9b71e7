"""Fixtures: a model, trained once, and the service around it."""

import pytest

from inference.app import create_app
from inference.config import Settings
from inference.predictor import Predictor
from training.__main__ import train
from training.output import write_model


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    """The model file of a training run."""
    path = tmp_path_factory.mktemp("model") / "model"
    write_model(path, train())
    return path


@pytest.fixture(scope="session")
def card(model_path):
    """What the model says about itself."""
    return Predictor.load(model_path.read_bytes()).card


@pytest.fixture(scope="session")
def row(card):
    """An instance that the model must be able to answer."""
    return card.example


@pytest.fixture
def app(model_path):
    """The service, with small limits that tests can reach."""
    return create_app(Settings(model_path=str(model_path), max_rows=8, max_body_bytes=65_536))


@pytest.fixture
def client(app):
    """A client of the service, in this process."""
    return app.test_client()
