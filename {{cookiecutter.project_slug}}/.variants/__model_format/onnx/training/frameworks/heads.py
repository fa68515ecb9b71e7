"""Infer the outputs of the service, and their expected predictions, from a graph's own outputs."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import GraphProto, helper

from inference.predictor import to_values
from inference.runtime.signature import TYPE_OF, Output, Prediction, Predictions, Scalar
from training.dataset import UnfitError
from training.frameworks.graph import Original, to_scalar

# The most numbers per instance that are served as separate outputs.
MOST_NUMBERS = 64


class Head(NamedTuple):
    """An output of the service, and its source in the graph.

    ``values`` and ``scores`` are indices of graph outputs; ``column`` selects one number of several.
    ``scale`` converts scores to probabilities: Softmax, Sigmoid or none.
    """

    output: Output
    values: int | None
    scores: int | None = None
    column: int | None = None
    scale: str = ""


def find_heads(
    original: Original,
    answers: Sequence[NDArray[Any]],
    classes: Sequence[Scalar],
    targets: Sequence[str],
) -> list[Head]:
    """Infer the outputs of a graph from its predictions; raises UnfitError if one cannot be served."""
    heads: list[Head] = []
    # Only for text: whole numbers may be the targets of a regressor.
    is_text = bool(classes) and isinstance(classes[0], str)
    names = [output.name for output in original.graph.graph.output]
    for place, (name, array) in enumerate(zip(names, answers, strict=True)):
        if place in [head.scores for head in heads]:
            # The scores of the labels before it.
            continue
        check_shape(name, array)
        is_float = array.dtype.kind == "f"
        width = array.size // len(array)
        found = find_classes(original, answers, place, classes) if width == 1 else ()
        if found and type(found[0]) is not float:
            # Spark gives indices of classes as floats.
            heads.append(Head(classified(name, found), None if is_float else place, place + 1))
        elif width > 1 or is_float:
            heads += scored(name, array, place, classes)
        elif is_text and len(answers) == 1 and set(array.flat) <= set(range(len(classes))):
            heads.append(Head(classified(name, classes), place))
        else:
            heads.append(Head(valued(name, array, classes), place))
    known = [head.output.classes for head in heads]
    if is_text and not any(set(classes) <= set(each) for each in known):
        most = max(known, key=len)
        has = f"{len(most)} ({', '.join(map(str, most[:5]))})" if most else "no scores of them"
        raise UnfitError(
            f"CLASSES names {len(classes)}, and the model has {has}: name all, in the order of its scores, or leave it out."
        )
    if len(targets) == len(heads):
        heads = [
            head._replace(output=replace(head.output, name=target))
            for head, target in zip(heads, targets, strict=True)
        ]
    return heads


def check_shape(name: str, array: Any) -> None:
    """Raise UnfitError for an output that is neither a value nor a row for each instance."""
    if not isinstance(array, np.ndarray):
        raise UnfitError(f"Its output {name!r} is no array: export it without.")
    if array.ndim > 2 or array.ndim == 0:
        raise UnfitError(
            f"Its output {name!r} has shape {list(array.shape[1:])} for an instance: a value, a class or a row of "
            "numbers can be served."
        )


def scored(name: str, array: NDArray[Any], place: int, classes: Sequence[Scalar]) -> list[Head]:
    """Return the heads of an output of numbers: one with classes, or one for each."""
    width = array.size // len(array)
    is_float = array.dtype.kind == "f"
    if is_float and classes and (width == len(classes) or (width, len(classes)) == (1, 2)):
        scores = array.reshape(len(array), -1)
        scale = scale_of(scores)
        if scale == "Softmax" and ((scores >= 0) & (scores <= 1)).all():
            raise UnfitError(f"The shares of {name!r} do not add up to 1: leave out CLASSES.")
        return [Head(classified(name, classes), None, place, scale=scale)]
    if width == 1:
        return [Head(Output(name=name), place)]
    if is_float and not scale_of(array):
        return [Head(classified(name, range(width)), None, place)]
    if width > MOST_NUMBERS:
        raise UnfitError(
            f"Its output {name!r} is a row of {width} numbers: name the classes that these are scores of by "
            f"CLASSES, or export a model that gives at most {MOST_NUMBERS}."
        )
    columns = enumerate(array.T)
    return [Head(valued(f"{name}_{i}", column), place, column=i) for i, column in columns]


def classified(name: str, classes: Sequence[Scalar]) -> Output:
    """Return an output of classes."""
    return Output(name=name, type=TYPE_OF[type(classes[0])], classes=tuple(classes))


def valued(name: str, array: NDArray[Any], classes: Sequence[Scalar] = ()) -> Output:
    """Return an output of text, numbers or booleans."""
    kinds: Any = {"b": "boolean", "f": "number", "i": "integer", "u": "integer"}
    kind = kinds.get(array.dtype.kind, "string")
    found = set(array.ravel().tolist())
    return Output(name=name, type=kind, classes=tuple(classes) if found <= set(classes) else ())


def find_classes(
    original: Original, answers: Sequence[NDArray[Any]], place: int, classes: Sequence[Scalar]
) -> Sequence[Scalar]:
    """Return the classes of the labels in an output if the next output has their scores; none otherwise."""
    labels = answers[place].ravel().tolist()
    scores = answers[place + 1] if place + 1 < len(answers) else np.empty(0)
    if scores.ndim != 2 or scores.shape[1] < 2 or scores.dtype.kind != "f":
        return ()
    best = scores.argmax(axis=1).tolist()
    known: list[Sequence[Scalar]] = [original.classes, *attributes(original.graph.graph)]
    width = scores.shape[1]
    for candidate in (classes, *known, range(width)):
        if len(candidate) == width and all(
            label in (candidate[index], index) for label, index in zip(labels, best, strict=True)
        ):
            return tuple(candidate)
    seen = dict(zip(best, labels, strict=True))
    if len(seen) == width and all(
        seen[index] == label for label, index in zip(labels, best, strict=True)
    ):
        return tuple(seen[index] for index in range(width))
    if isinstance(labels[0], str):
        raise UnfitError(f"It has {width} classes, whose names the file lacks: give CLASSES.")
    return ()


def attributes(graph: GraphProto) -> Iterator[tuple[Scalar, ...]]:
    """Yield the classes named in the nodes of a graph."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name.startswith("classlabels_"):
                yield tuple(map(to_scalar, helper.get_attribute_value(attribute)))


def scale_of(scores: NDArray[Any]) -> str:
    """Return the operator that turns scores of shape (instances, classes) into probabilities; empty if they are."""
    is_share = bool(((scores >= 0) & (scores <= 1)).all())
    if scores.shape[1] == 1:
        return "" if is_share else "Sigmoid"
    return "" if is_share and np.allclose(scores.sum(axis=1), 1, atol=1e-3) else "Softmax"


def answer_by(heads: Sequence[Head], answers: Sequence[NDArray[Any]]) -> Predictions:
    """Compute the expected predictions of each head from the graph's own outputs."""
    predictions = []
    for head in heads:
        classes = head.output.classes
        probabilities = None
        if head.scores is not None:
            probabilities = to_probabilities(answers[head.scores].astype(np.float64), head)
        if head.values is None:
            values = [classes[index] for index in np.asarray(probabilities).argmax(axis=1)]
        else:
            array = answers[head.values].reshape(len(answers[0]), -1)[:, head.column or 0]
            values = [*to_values(head.output, array)]
        predictions.append(Prediction(values, probabilities))
    return tuple(predictions)


def to_probabilities(scores: NDArray[Any], head: Head) -> NDArray[Any]:
    """Convert scores to probabilities, an array of shape (instances, classes)."""
    scores = scores.reshape(len(scores), -1)
    if head.scale == "Softmax":
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if head.scale == "Sigmoid":
        scores = 1 / (1 + np.exp(-scores))
    if scores.shape[1] == 1 and len(head.output.classes) == 2:
        return np.hstack([1 - scores, scores])
    return scores
