"""Expected answers of this model: replace these cases when you replace the model."""

import pytest

ADELIE = {
    "island": "Torgersen",
    "bill_length_mm": 39.1,
    "bill_depth_mm": 18.7,
    "flipper_length_mm": 181,
    "body_mass_g": 3750,
    "sex": "male",
}
CHINSTRAP = {
    "island": "Dream",
    "bill_length_mm": 46.5,
    "bill_depth_mm": 17.9,
    "flipper_length_mm": 192,
    "body_mass_g": 3500,
    "sex": "female",
}
GENTOO = {
    "island": "Biscoe",
    "bill_length_mm": 46.1,
    "bill_depth_mm": 13.2,
    "flipper_length_mm": 211,
    "body_mass_g": 4500,
    "sex": "female",
}


@pytest.mark.parametrize(
    ("penguin", "species"),
    [(ADELIE, "Adelie"), (CHINSTRAP, "Chinstrap"), (GENTOO, "Gentoo")],
)
def test_known_penguins_are_recognised(client, penguin, species):
    response = client.post("/predict", json={"instances": [penguin]})
    assert response.json["predictions"] == [species]
    probabilities = response.json["probabilities"][0]
    assert max(probabilities, key=probabilities.__getitem__) == species


def test_measure_and_sex_may_be_missing(client):
    measured = {name: GENTOO[name] for name in GENTOO if name not in ("bill_depth_mm", "sex")}
    response = client.post("/predict", json={"instances": [measured]})
    assert response.json["predictions"] == ["Gentoo"]


def test_model_is_accurate_on_held_out_rows(card):
    assert card.metrics["accuracy"] >= 0.9
