"""An MLServer runtime for ONNX Runtime, which MLServer lacks."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_model import OnnxModel


class OnnxRuntime(MLModel):
    """Answer for the only input tensor, of shape (rows, features)."""

    async def load(self) -> bool:
        """Load the model."""
        self._model = OnnxModel()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer with the classes as BYTES and the probabilities as FP32."""
        labels, probabilities = self._model.run(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("predictions", labels.tolist()),
                NumpyCodec.encode_output("probabilities", probabilities),
            ],
        )
