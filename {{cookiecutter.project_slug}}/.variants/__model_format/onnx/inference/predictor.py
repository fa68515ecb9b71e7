"""The model behind the service; your own pre- and post-processing goes here."""

import os
from typing import ClassVar, Self

import msgspec
import numpy as np

# ONNX Runtime sends usage data to its maker, and keeps an identifier in the home directory, unless this
# is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort
from numpy.typing import NDArray

from inference.runtime.signature import ModelCard, Prediction


class Predictor:
    """Runs an ONNX model that was exported by ``training/export.py``.

    Its input is one float32 tensor of shape (rows, features). Its outputs are ``values``, one a
    row - a class's index, or a number - and, where the model has them, ``probabilities`` of shape
    (rows, classes).

    ``may_block`` says whether ``predict`` may wait for anything but the CPU, or hold the interpreter for
    long: a graph does neither, so that few rows may be answered on the event loop. Set it to True where
    your own code in ``predict`` sleeps, reads files or asks a database.
    """

    may_block: ClassVar[bool] = False

    def __init__(self, session: ort.InferenceSession, card: ModelCard) -> None:
        self.card = card
        self._session = session
        self._input = session.get_inputs()[0].name
        given = {output.name for output in session.get_outputs()}
        self._outputs = [name for name in ("values", "probabilities") if name in given]

    @classmethod
    def load(cls, content: bytes) -> Self:
        """Make a predictor from the bytes of an ONNX file; raises where it is not one of ours."""
        options = ort.SessionOptions()
        # Requests already run in parallel: threads of the model's own would only contend.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
        fields = {name: msgspec.json.decode(text) for name, text in metadata.items()}
        return cls(session, msgspec.convert(fields, ModelCard))

    def predict(self, rows: NDArray[np.float32]) -> Prediction:
        """Answer ``rows``, a float32 array of shape (rows, features), row by row."""
        outputs = self._session.run(self._outputs, {self._input: rows})
        values = outputs[0].reshape(len(rows)).tolist()
        if self.card.classes:
            values = [self.card.classes[index] for index in values]
        return Prediction(values, *outputs[1:])
