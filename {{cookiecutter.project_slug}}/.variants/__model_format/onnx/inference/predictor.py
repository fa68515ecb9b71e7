"""The model behind the service; your own pre- and post-processing goes here."""

import os
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import msgspec
import numpy as np

# ONNX Runtime sends usage data to its vendor, and stores an identifier in the home directory, unless this
# is set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort
from numpy.typing import NDArray

from inference.runtime.signature import MATRIX, Inputs, ModelCard, Output, Prediction, Scalar


class Predictor:
    """Runs an ONNX model that was exported by ``training/export.py``.

    Its inputs are those of the card, by name: one float32 matrix of shape (rows, columns), one input of shape
    (rows, 1) for each column, or tensors. Its outputs are ``values``, one per row - a class or its index, or a number -
    and, if the model has them, ``probabilities`` of shape (rows, classes); with several outputs, ``values_0``,
    ``probabilities_0`` and so on.

    ``may_block`` says whether ``predict`` may wait for anything but the CPU, or hold the GIL for long. A graph
    does neither, so a few rows can be predicted on the event loop. Set it to True if your own code in
    ``predict`` sleeps, reads files or queries a database.
    """

    may_block: ClassVar[bool] = False

    def __init__(self, session: ort.InferenceSession, card: ModelCard) -> None:
        self.card = card
        self._session = session
        # The graph takes each column of a table as a matrix with one column.
        self._columns = bool(card.columns) and not card.is_matrix
        self._input = session.get_inputs()[0].name
        given = {output.name for output in session.get_outputs()}
        several = len(card.outputs) > 1
        names = [(f"values_{i}", f"probabilities_{i}") for i in range(len(card.outputs))]
        self._outputs = names if several else [("values", "probabilities")]
        self._asked = [name for pair in self._outputs for name in pair if name in given]

    @classmethod
    def load(cls, content: bytes) -> Self:
        """Create a predictor from the bytes of an ONNX file; raises if ``training/export.py`` did not write it."""
        options = ort.SessionOptions()
        # Requests already run in parallel: threads inside the model would only contend.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # The check after the export covers what it would warn about; errors are raised in any case.
        options.log_severity_level = 4
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
        fields = {name: msgspec.json.decode(text) for name, text in metadata.items()}
        return cls(session, ModelCard.read(fields))

    def predict(self, inputs: Inputs) -> Prediction | dict[str, Prediction]:
        """Predict the instances of ``inputs``, which holds an array for each input of the card, by name."""
        if self.card.is_matrix:
            inputs = {self._input: inputs[MATRIX]}
        elif self._columns:
            inputs = {name: array.reshape(-1, 1) for name, array in inputs.items()}
        answers = self._session.run(self._asked, inputs)
        outputs = self.card.outputs
        if len(outputs) == 1:
            return Prediction(to_values(outputs[0], answers[0]), *answers[1:])
        found = dict(zip(self._asked, answers, strict=True))
        return {
            output.name: Prediction(to_values(output, found[values]), found.get(probabilities))
            for output, (values, probabilities) in zip(outputs, self._outputs, strict=True)
        }


def to_values(output: Output, array: NDArray[np.generic]) -> Sequence[Scalar]:
    """Return the values of a graph's output: classes, which may come as their indices, or numbers."""
    values: list[Any] = array.reshape(-1).tolist()
    kinds = "iub" if output.type == "string" else "iu"
    if output.type in ("string", "boolean") and array.dtype.kind in kinds:
        return [output.classes[index] for index in values]
    return values
