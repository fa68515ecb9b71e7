"""``/openapi.json`` (OpenAPI 3.1), generated from the routes and the validated types, and ``/docs``."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, render_template

from inference.formats import csv
from inference.formats.answers import Answer
from inference.formats.instances import InstancesDecoder
from inference.formats.tensors import InferenceRequest, InferenceResponse
from inference.http.api_keys import PAGES, STATIC
from inference.http.problems import Problem, ProtocolError
from inference.http.protocol import inputs_of
from inference.http.routes import CSV, JSON, JSON_LENGTH, current_service
from inference.monitoring.exposition import Monitored
from inference.runtime.signature import ModelCard, to_inputs

REASONS = {
    "400": "The body cannot be read",
    "401": "The API key is missing or wrong",
    "413": "The body is too large",
    "415": "The type of the body is not supported",
    "422": "The instances do not fit the model",
    "503": "The service is overloaded; Retry-After says when to try again",
}
TAGS = ("Predictions", "Open Inference Protocol", "Operation")
PROBLEM = "application/problem+json"
TEXT = {"type": "string"}
LENGTH = {
    "name": JSON_LENGTH,
    "in": "header",
    "description": "The number of bytes of JSON if raw tensors follow it.",
    "schema": {**TEXT, "pattern": "^[1-9][0-9]*$"},
}


def create_blueprint(card: ModelCard, decoder: InstancesDecoder, version: str) -> Blueprint:
    """Create the routes that describe the service."""
    blueprint = Blueprint("docs", __name__)

    @cache
    def document() -> dict[str, Any]:
        return describe(card, decoder, version)

    @blueprint.get("/openapi.json")
    def openapi() -> Response:
        """Describe every route (OpenAPI 3.1)."""
        return Response(msgspec.json.encode(document()), content_type=JSON)

    @blueprint.get("/docs")
    def page() -> str:
        """Show the API documentation."""
        return render_template(
            "docs.html",
            document=document(),
            needs_key=current_service().keys.are_needed_for("/predict"),
            schemas_in=schemas_in,
        )

    return blueprint


def describe(card: ModelCard, decoder: InstancesDecoder, version: str) -> dict[str, Any]:
    """Return the OpenAPI document of the current application, with examples from the model."""
    types = (
        *(decoder.request, Answer, Problem, ProtocolError, InferenceRequest, InferenceResponse),
        Monitored,
    )
    template = "#/components/schemas/{name}"
    references, schemas = msgspec.json.schema_components(types, ref_template=template)
    request, answer, problem, protocol_error, tensors, outputs, monitored = references
    instances = {JSON: {"schema": request, "example": {"instances": [card.example]}}}
    table: dict[str, Any] = {}
    if csv.holds(card):
        table = {CSV: {"schema": TEXT, "example": csv.Cells(card).example()}}
    tensor = {"inputs": tensor_examples(card)}
    bodies: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "inference.predict": (instances, {JSON: answer}),
        "inference.invocations": (instances | table, {JSON: answer, CSV: TEXT}),
        "protocol.infer": (
            {JSON: {"schema": tensors, "example": tensor}},
            {JSON: outputs, "application/octet-stream": TEXT},
        ),
        "monitor.data": ({}, {JSON: monitored}),
    }
    paths: dict[str, Any] = {}
    for rule in current_app.url_map.iter_rules():
        path = rule.rule.replace("<name>", card.name)
        if path in PAGES or path.startswith(STATIC) or "<of_version>" in path:
            continue
        in_protocol = rule.endpoint.startswith("protocol.")
        fault = {JSON: protocol_error} if in_protocol else {PROBLEM: problem}
        content, answers = bodies.get(rule.endpoint, ({}, {}))
        method = "post" if "POST" in (rule.methods or ()) else "get"
        paths[path] = {method: operation_of(rule.endpoint, path, content, answers, fault)}
    metrics = ", ".join(f"{name} {value}" for name, value in card.metrics.items())
    predicted = ", ".join(output.name for output in card.outputs)
    about = f"Predicts {predicted}. Trained on {card.trained_on} with {card.dataset}: {metrics}."
    key = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    return {
        "openapi": "3.1.0",
        "info": {"title": card.name, "version": version, "description": about},
        "tags": [{"name": name} for name in TAGS],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"key": key}},
    }


def operation_of(
    endpoint: str,
    path: str,
    content: dict[str, Any],
    answers: dict[str, Any],
    fault: dict[str, Any],
) -> dict[str, Any]:
    """Return the operation at ``path``; ``answers`` and ``fault`` have the schema of each media type."""
    view = current_app.view_functions[endpoint]
    responses: dict[str, Any] = {"200": {"description": "The service answers"}}
    operation: dict[str, Any] = {
        "summary": (view.__doc__ or "").split("\n")[0],
        "tags": [tag_of(endpoint)],
        "responses": responses,
    }
    codes = []
    if answers:
        responses["200"]["content"] = media(answers)
    if content:
        operation["requestBody"] = {"required": True, "content": content}
        operation["parameters"] = [LENGTH] if endpoint.startswith("protocol.") else []
        codes = ["400", "413", "415", "422", "503"]
    if current_service().keys.are_needed_for(path):
        operation["security"] = [{"key": []}]
        codes.append("401")
    described = media(fault)
    responses |= {code: {"description": REASONS[code], "content": described} for code in codes}
    return operation


def schemas_in(part: Any, schemas: Mapping[str, Any]) -> list[str]:
    """Return the names of the schemas that a part of the document refers to, directly or indirectly."""
    found: list[str] = []
    for name in re.findall(rb'"#/components/schemas/(\w+)"', msgspec.json.encode(part)):
        found += [name.decode(), *schemas_in(schemas[name.decode()], schemas)]
    return list(dict.fromkeys(found))


def tag_of(endpoint: str) -> str:
    """Return the tag of a route."""
    if endpoint.startswith("protocol."):
        return TAGS[1]
    return TAGS[0] if endpoint in ("inference.predict", "inference.invocations") else TAGS[2]


def media(contents: dict[str, Any]) -> dict[str, Any]:
    """Wrap the schema of each media type for OpenAPI."""
    return {media_type: {"schema": schema} for media_type, schema in contents.items()}


def tensor_examples(card: ModelCard) -> list[dict[str, Any]]:
    """Return the card's example as inputs of the Open Inference Protocol."""
    given = to_inputs(card, [card.example])
    return [
        {
            "name": wanted.name,
            "shape": list(given[wanted.name].shape),
            "datatype": wanted.datatype,
            "data": given[wanted.name].ravel().tolist(),
        }
        for wanted in inputs_of(card)
    ]
