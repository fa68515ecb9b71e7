"""Changes to a rehearsal's copy of the project that give releases something to show."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

# Appended to inference/predictor.py.
OTHERWISE = """

def other_than(output, values):
    if output.classes:
        places = [output.classes.index(value) + 1 for value in values]
        return [output.classes[place % len(output.classes)] for place in places]
    return [not value if isinstance(value, bool) else value + 1e6 for value in values]


def predict_otherwise(self, inputs, predict=Predictor.predict):
    answer = predict(self, inputs)
    outputs = self.card.outputs
    if isinstance(answer, tuple):
        return Prediction(other_than(outputs[0], answer[0]), answer[1])
    return {
        output.name: Prediction(other_than(output, answer[output.name][0]), answer[output.name][1])
        for output in outputs
    }


Predictor.predict = predict_otherwise
"""


def new_tag(name: str) -> str:
    """Return a make variable with a unique tag: a registry may hold tags of other rehearsals."""
    return f"IMAGE_TAG={name}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def edited(path: Path, text: str) -> Iterator[None]:
    """Replace the text of a file temporarily."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def broken_service(copy: Path) -> contextlib.AbstractContextManager[None]:
    """Make the service of the next release exit at once."""
    entry = copy / "inference/__main__.py"
    return edited(entry, 'raise SystemExit("broken, for the rehearsal")\n')


def other_answers(copy: Path) -> contextlib.AbstractContextManager[None]:
    """Make the model of the next release predict something else for each instance."""
    predictor = copy / "inference/predictor.py"
    return edited(predictor, predictor.read_text() + OTHERWISE)
