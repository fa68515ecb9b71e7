"""Expected answers of this model: replace these cases when you replace the model."""

import pytest
from sklearn.datasets import load_digits


@pytest.mark.parametrize("digit", range(10))
def test_known_digits_are_recognised(client, digit):
    digits = load_digits()
    image = digits.images[digits.target == digit][0]
    response = client.post("/predict", json={"instances": [image.tolist()]})
    assert response.json["predictions"] == [digit]
    probabilities = response.json["probabilities"][0]
    assert max(probabilities, key=probabilities.__getitem__) == str(digit)


def test_model_is_accurate_on_held_out_rows(card):
    assert card.metrics["accuracy"] >= 0.9
