"""``/openapi.json`` (OpenAPI 3.1), made from the types that validate requests, and ``/docs``."""

from typing import Any

import msgspec
from flask import Blueprint, Response, render_template

from inference.engine import Engine
from inference.instances import InstancesDecoder
from inference.problems import Problem, ProtocolError
from inference.protocol import INPUT, JSON_LENGTH
from inference.tensors import InferenceRequest, InferenceResponse
from inference.views import CSV, JSON, Answer

Schema = dict[str, Any]

REASONS = {
    "400": "The body cannot be read",
    "401": "The API key is missing or wrong",
    "404": "The model here has another name or version",
    "413": "The body is too large",
    "415": "The body is of a type that is not read here",
    "422": "The instances do not fit the model",
    "503": "The service is overloaded; Retry-After says when to ask again",
}
BODY_FAULTS = ("400", "413", "415", "503")


def create_blueprint(
    engine: Engine, decoder: InstancesDecoder, version: str, needs_key: bool
) -> Blueprint:
    """The routes that describe the service."""
    blueprint = Blueprint("docs", __name__)
    document = describe(engine, decoder, version, needs_key)
    encoded = msgspec.json.encode(document)

    @blueprint.get("/openapi.json")
    def openapi() -> Response:
        """Describe every route (OpenAPI 3.1)."""
        return Response(encoded, content_type=JSON)

    @blueprint.get("/docs")
    def page() -> str:
        """Show that description to people."""
        return render_template("docs.html", document=document)

    return blueprint


def describe(
    engine: Engine, decoder: InstancesDecoder, version: str, needs_key: bool
) -> dict[str, Any]:
    """The OpenAPI document; its examples are the model's own."""
    card = engine.card
    types = (decoder.request, Answer, Problem, ProtocolError, InferenceRequest, InferenceResponse)
    references, schemas = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    request, answer, problem, protocol_error, infer_request, infer_response = references
    example = [feature.example for feature in card.features]
    instances = body({JSON: (request, {"instances": [example]})})
    names = ",".join(feature.name for feature in card.features)
    row = ",".join(map(str, example))
    table = {CSV: ({"type": "string"}, f"{names}\r\n{row}\r\n")}
    tensor = {"name": INPUT, "shape": [1, len(example)], "datatype": "FP32", "data": example}
    ok = {"200": {"description": "The service answers"}}
    infer = {
        "summary": "Predict, by the Open Inference Protocol",
        "parameters": [
            {
                "name": JSON_LENGTH,
                "in": "header",
                "description": "The bytes of JSON, where tensors follow it as bytes.",
                "schema": {"type": "string", "pattern": "^[0-9]+$"},
            }
        ],
        "requestBody": body({JSON: (infer_request, {"inputs": [tensor]})}),
        "responses": {
            "200": answers({JSON: infer_response, "application/octet-stream": {"type": "string"}}),
            **faults(protocol_error, JSON, "400", "404", "413", "415", "503"),
        },
    }
    model = f"/v2/models/{card.name}"
    paths: dict[str, dict[str, Any]] = {
        "/predict": {
            "post": {
                "summary": "Predict for each instance: a list of numbers, or an object by feature",
                "requestBody": instances,
                "responses": {"200": answers({JSON: answer}), **problems(problem)},
            }
        },
        "/invocations": {
            "post": {
                "summary": "Predict, as a SageMaker endpoint does",
                "requestBody": body({JSON: (request, {"instances": [example]}), **table}),
                "responses": {
                    "200": answers({JSON: answer, CSV: {"type": "string"}}),
                    **problems(problem),
                },
            }
        },
        "/ping": {"get": {"summary": "Is the service up?", "responses": ok}},
        "/v2": {"get": {"summary": "The server's metadata", "responses": documents()}},
        "/v2/health/live": {"get": {"summary": "Is the server up?", "responses": ok}},
        "/v2/health/ready": {"get": {"summary": "Does the model answer?", "responses": ok}},
        model: {"get": {"summary": "The model's metadata", "responses": documents()}},
        f"{model}/ready": {"get": {"summary": "Does the model answer?", "responses": ok}},
        f"{model}/infer": {"post": infer},
        "/metrics": {
            "get": {
                "summary": "Metrics for Prometheus",
                "responses": {"200": answers({"text/plain": {"type": "string"}})},
            }
        },
    }
    if needs_key:
        require_keys(paths, problem, protocol_error)
    return {
        "openapi": "3.1.0",
        "info": {"title": card.name, "version": version, "description": about(engine)},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
    }


def about(engine: Engine) -> str:
    """What the model is, in two sentences."""
    card = engine.card
    metrics = ", ".join(f"{name} {value}" for name, value in card.metrics.items())
    return f"Predicts {card.target}. Trained on {card.trained_on} with {card.dataset}: {metrics}."


def body(contents: dict[str, tuple[Schema, object]]) -> dict[str, Any]:
    """A request's body: each media type with its schema and an example."""
    media = {
        kind: {"schema": schema, "example": example} for kind, (schema, example) in contents.items()
    }
    return {"required": True, "content": media}


def answers(contents: dict[str, Schema]) -> dict[str, Any]:
    """A response: each media type with its schema."""
    media = {kind: {"schema": schema} for kind, schema in contents.items()}
    return {"description": "The answer", "content": media}


def documents() -> dict[str, Any]:
    """The responses of a route that answers with a JSON object."""
    return {"200": answers({JSON: {"type": "object"}})}


def faults(schema: Schema, media_type: str, *codes: str) -> dict[str, Any]:
    """The responses to requests that are refused."""
    return {
        code: {"description": REASONS[code], "content": {media_type: {"schema": schema}}}
        for code in codes
    }


def problems(schema: Schema) -> dict[str, Any]:
    """The problem documents of a route that reads instances."""
    return faults(schema, "application/problem+json", *BODY_FAULTS, "422")


def require_keys(paths: dict[str, Any], problem: Schema, protocol_error: Schema) -> None:
    """Say which routes want an API key: all but health."""
    for path, operations in paths.items():
        if path.endswith(("/ping", "/live", "/ready")):
            continue
        for operation in operations.values():
            operation["security"] = [{"key": []}]
            operation["responses"] |= (
                faults(protocol_error, JSON, "401")
                if path.startswith("/v2")
                else faults(problem, "application/problem+json", "401")
            )
