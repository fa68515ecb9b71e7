"""``/openapi.json`` (OpenAPI 3.1), generated from the routes and the validated types, and ``/docs``."""

import re
from collections.abc import Mapping
from functools import cache, partial
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
# Generators of clients take a value with a default for one that is always sent.
DEFAULT = re.compile(rb',"default":(null|\[\]|\{\})')
LENGTH = {
    "name": JSON_LENGTH,
    "in": "header",
    "description": "The number of bytes of JSON if raw tensors follow it.",
    "schema": {**TEXT, "pattern": "^[1-9][0-9]*$"},
}


def create_blueprint(card: ModelCard, decoder: InstancesDecoder, version: str) -> Blueprint:
    """Create the routes that describe the service."""
    blueprint = Blueprint("docs", __name__)

    document = cache(partial(describe, card, decoder, version))

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
    schemas["Answer"]["properties"] = describe_answer(card)
    text = DEFAULT.sub(b"", msgspec.json.encode(schemas))
    # Some fail at items that must not be, and without a format take a number for one of 32 bits.
    text = text.replace(b'"items":false', b'"items":{"type":["boolean","number","string","null"]}')
    text = text.replace(b'"type":"number"', b'"type":"number","format":"double"')
    text = text.replace(b'"type":"integer"', b'"type":"integer","format":"int64"')
    request, answer, problem, protocol_error, tensors, outputs, monitored = [
        {"schema": reference} for reference in references
    ]
    instances = {JSON: {**request, "example": {"instances": [card.example]}}}
    table: dict[str, Any] = {}
    if csv.holds(card):
        table = {CSV: {"schema": TEXT, "example": csv.Cells(card).example()}}
    bodies: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "inference.predict": (instances, {JSON: answer}),
        "inference.invocations": (instances | table, {JSON: answer, CSV: {"schema": TEXT}}),
        "protocol.infer": (
            {JSON: {**tensors, "example": {"inputs": tensor_examples(card)}}},
            {JSON: outputs, "application/octet-stream": {"schema": TEXT}},
        ),
        "monitor.data": ({}, {JSON: monitored}),
        "metrics": ({}, {"text/plain": {"schema": TEXT}}),
    }
    paths: dict[str, Any] = {}
    for rule in current_app.url_map.iter_rules():
        path = rule.rule.replace("<name>", card.name)
        if path in PAGES or path.startswith(STATIC) or "<of_version>" in path:
            continue
        in_protocol = rule.endpoint.startswith("protocol.")
        fault = {JSON: protocol_error} if in_protocol else {PROBLEM: problem}
        others = {JSON: {"schema": {"type": "object"}}} if in_protocol else {}
        content, answers = bodies.get(rule.endpoint, ({}, others))
        method = "post" if "POST" in (rule.methods or ()) else "get"
        paths[path] = {method: operation_of(rule.endpoint, path, content, answers, fault)}
    metrics = ", ".join(f"{name} {value}" for name, value in card.metrics.items())
    predicted = ", ".join(output.name for output in card.outputs)
    about = f"Predicts {predicted}. Trained on {card.trained_on} with {card.dataset}: {metrics}."
    return {
        "openapi": "3.1.0",
        "info": {"title": card.name, "version": version, "description": about},
        "tags": [{"name": name} for name in TAGS],
        "paths": paths,
        "components": {
            "schemas": msgspec.json.decode(text),
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
    }


def describe_answer(card: ModelCard) -> dict[str, Any]:
    """Return the properties of an answer, with the types of the model's outputs."""
    values: dict[str, Any] = {output.name: {"type": output.type} for output in card.outputs}
    shares: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "number"}}
    (value, *others) = values.values()
    if others:
        value = {"type": "object", "properties": values, "required": [*values]}
        shares = {"type": "object", "additionalProperties": shares}
    return {
        "predictions": {"type": "array", "items": value},
        "probabilities": {"type": "array", "items": shares},
    }


def operation_of(
    endpoint: str,
    path: str,
    content: dict[str, Any],
    answers: dict[str, Any],
    fault: dict[str, Any],
) -> dict[str, Any]:
    """Return the operation at ``path``; ``answers`` and ``fault`` have the schema of each media type."""
    in_protocol = endpoint.startswith("protocol.")
    responses: dict[str, Any] = {"200": {"description": "The service answers"}}
    operation: dict[str, Any] = {
        "operationId": endpoint.replace(".", "_"),
        "summary": (current_app.view_functions[endpoint].__doc__ or "").split("\n")[0],
        "tags": [TAGS[1] if in_protocol else TAGS[0 if content else 2]],
        "responses": responses,
    }
    codes = []
    if answers:
        responses["200"]["content"] = answers
    if content:
        operation["requestBody"] = {"required": True, "content": content}
        operation["parameters"] = [LENGTH] if in_protocol else []
        codes = ["400", "413", "415", "422", "503"]
    if current_service().keys.are_needed_for(path):
        operation["security"] = [{"key": []}]
        codes.append("401")
    responses |= {code: {"description": REASONS[code], "content": fault} for code in codes}
    return operation


def schemas_in(part: Any, schemas: Mapping[str, Any]) -> list[str]:
    """Return the names of the schemas that a part of the document refers to, directly or indirectly."""
    found: list[str] = []
    for name in re.findall(rb'"#/components/schemas/(\w+)"', msgspec.json.encode(part)):
        found += [name.decode(), *schemas_in(schemas[name.decode()], schemas)]
    return list(dict.fromkeys(found))


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
