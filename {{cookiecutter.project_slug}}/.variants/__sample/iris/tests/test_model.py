"""Expected answers of this model: replace these cases when you replace the model."""

import pytest


@pytest.mark.parametrize(
    ("flower", "species"),
    [
        ([5.1, 3.5, 1.4, 0.2], "setosa"),
        ([5.9, 2.8, 4.3, 1.3], "versicolor"),
        ([6.7, 3.1, 5.6, 2.4], "virginica"),
    ],
)
def test_known_flowers_are_recognised(client, flower, species):
    response = client.post("/predict", json={"instances": [flower]})
    assert response.json["predictions"] == [species]
    probabilities = response.json["probabilities"][0]
    assert max(probabilities, key=probabilities.__getitem__) == species


def test_model_is_accurate_on_held_out_rows(card):
    assert card.metrics["accuracy"] >= 0.9
