"""What the decoders reject, and how much memory a body may take; independent of the model."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from werkzeug.exceptions import BadRequest

from inference.errors import InvalidInstances
from inference.formats import csv, tensors
from inference.formats.instances import InstancesDecoder
from inference.runtime.signature import MATRIX, Column, Output
from tests.models import make_card

ROOT = Path(__file__).parent.parent
MARK = b"\xef\xbb\xbf"
GOOD = b'{"name": "instances", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}'
INFER = b'{"inputs": [' + GOOD + b"]}"


def card_of(*names):
    columns = tuple(Column(name=name, example=1.0) for name in names)
    return make_card("numbers", columns=columns, outputs=(Output(name="y"),))


def decode(body, features=("a", "b")):
    return InstancesDecoder(card_of(*features), 8).decode(body)[MATRIX].tolist()


def decode_csv(body, features=("a", "b")):
    return csv.Cells(card_of(*features)).decode(body, 8)[MATRIX]


def infer(body):
    return tensors.decode(body, len(body))[0]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ('{"instances": [[1, 2]], "instances": [[3, 4]]}', "instances"),
        (r'{"instances": [[1, 2]], "\u0069nstances": [[3, 4]]}', "instances"),
        ('{"instances": [[1, 2], {"a": 1, "b": 2, "a": 3}]}', "a"),
        (r'{"instances": [{"a": 1, "b": 2, "\u0061": 3}]}', "a"),
        # The rows that the second list replaces have colons too.
        ('{"instances": [{"a": 1, "b": 2}], "instances": [[3, 4]]}', "instances"),
    ],
)
def test_duplicate_key_is_refused(body, key):
    with pytest.raises(InvalidInstances) as error:
        decode(body.encode())
    assert error.value.description == f"duplicate key {key} in an object"


def test_whole_number_under_a_name_with_quotes_may_have_decimals():
    columns = (Column(name='"a"', type="integer", example=1), Column(name="b", example=1.0))
    decoder = InstancesDecoder(make_card("x", columns=columns, outputs=(Output(name="y"),)), 8)
    found = decoder.decode(rb'{"instances": [{"\"a\"": 2.0, "b": 1e38}]}')
    assert found['"a"'].tolist() == [2]
    assert found["b"].tolist() == [np.float32(1e38)]


def test_duplicate_is_found_even_if_an_escape_hides_a_colon():
    hidden = r'{"instances": [{"a:": 1, "b": 2, "b": 3}, {"a\u003a": 1, "b": 2}]}'
    with pytest.raises(InvalidInstances, match="duplicate key b"):
        decode(hidden.encode(), ["a:", "b"])


@pytest.mark.parametrize("a", ["a", "a:", ":a::", "\u00e4", "instances"])
def test_valid_keys_pass_however_they_are_written(a):
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in a)
    body = f'{{"\\u0069nstances": [[1, 2], {{"b": 2, "{a}": 1}}, {{"{escaped}": 1, "b": 2}}]}}'
    assert decode(body.encode(), [a, "b"]) == [[1, 2]] * 3


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ((b'"shape"', b'"name": "x", "shape"'), "name"),
        ((b'{"inputs"', b'{"inputs": [' + GOOD + b'], "inputs"'), "inputs"),
        ((b'{"inputs"', b'{"parameters": {"p": 1, "p": 2}, "inputs"'), "p"),
        ((b'"shape"', rb'"n\u0061me": "\"", "shape"'), "name"),
        ((b'{"inputs"', b'{"outputs": [{"name": "x", "name": "y"}], "inputs"'), "name"),
    ],
)
def test_duplicate_key_in_a_tensor_request_is_refused(change, key):
    with pytest.raises(BadRequest) as error:
        infer(INFER.replace(*change))
    assert error.value.description == f"duplicate key {key} in an object"


@pytest.mark.parametrize(
    "more",
    [
        b'"id": "urn:uuid:1"',
        b'"id": null, "parameters": null, "outputs": null',
        rb'"id": "\u003a"',
        b'"parameters": {"a": 1, "b": "x:y"}, "outputs": [{"name": "x", "parameters": {"y": true}}]',
        b'"unknown": {"a": [{"b": 1}, {"b": ' + b"9" * 5000 + b"}]}",
    ],
)
def test_valid_tensor_requests_pass(more):
    assert infer(INFER[:-1] + b", " + more + b"}").inputs[0].name == "instances"


def test_byte_order_mark_is_skipped_once():
    assert decode(MARK + b'{"instances": [[1, 2]]}') == [[1, 2]]
    assert infer(MARK + INFER).inputs[0].shape == [1, 2]
    for body in (MARK, MARK * 2 + b'{"instances": [[1, 2]]}', MARK * 9000):
        with pytest.raises(BadRequest):
            decode(body)
        with pytest.raises(BadRequest):
            infer(body)
    with pytest.raises(InvalidInstances):
        decode(MARK + b'{"instances": [[1]]}')


@pytest.mark.parametrize("cell", ["\u0661", "\uff11", "1\u0660"])
def test_digits_of_other_scripts_are_not_numbers_in_csv(cell):
    with pytest.raises(InvalidInstances, match=f"line 2, b: .{cell}. is not a finite number"):
        decode_csv(f"1,2\n1,{cell}\n".encode())


def test_csv_column_names_are_stripped():
    rows = decode_csv("text,b , a\n\u0661,2,1\n".encode(), ["a", " b"])
    assert np.array_equal(rows, [[1, 2]])


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        # Anything after the first excess row is ignored.
        (b"1,2\n" * 9 + b'x,"', "more than 8 rows: split them into several requests"),
        (b"a,b\n" + b"1,2\n" * 9 + b'x,"', "more than 8 rows: split them into several requests"),
        (b"a,b,a\n1,2,3\n", "The column a is there twice"),
        (b"1,2\n" + b"1," * 40_000, "line 2 has more than 65736 characters"),
        (b'1,"' + b"\n" * 200_000, "field larger than field limit"),
    ],
)
def test_csv_is_read_no_further_than_its_limit(body, fault):
    with pytest.raises(InvalidInstances, match=fault):
        decode_csv(body)


def test_eight_rows_of_csv_are_not_too_many():
    assert len(decode_csv(b"a,b\r\n" + b"1,2\r\n\r\n" * 8)) == 8


# Decodes each body in four threads at once, and prints the peak growth of the process in KB.
MEASURE = """
import re, sys, threading
from inference.formats import csv, tensors
from inference.formats.instances import InstancesDecoder
from tests.test_decoding import card_of

# More than LARGE_BYTES, from which on bodies are decoded one at a time.
SIZE = 1 << 18

def fill(before, unit, after):
    return before + unit * ((SIZE - len(before) - len(after)) // len(unit)) + after

def infer(body):
    request, parts = tensors.decode(body, len(body))
    tensors.to_array(request.inputs[0], parts[0])

def table(body):
    csv.Cells(card_of(*"abcd")).decode(body, 1000)

head = b'{"name": "instances", "shape": [1, 4], "datatype": "FP32", "data": ['
tail = head + b'1, 1, 1, 1]}'
json = InstancesDecoder(card_of("a"), 1000).decode
cases = {
    "rows": (json, b'{"instances":[', b"[1],", b"[1]]}"),
    "rows, then NaN": (json, b'{"instances":[', b"[1],", b"[NaN]]}"),
    "keys": (json, b'{"instances":[[1]]', b',"instances":[[1]]', b"}"),
    "depth": (json, b"", b"[", b""),
    "lists": (infer, b'{"inputs":[' + head, b"[],", b"[]]}]}"),
    "rows of one": (infer, b'{"inputs":[' + head, b"[1],", b"[1]]}]}"),
    "inputs": (infer, b'{"inputs":[', b'{"name":"","shape":[],"datatype":""},', tail + b"]}"),
    "outputs": (infer, b'{"inputs":[' + tail + b'],"outputs":[', b'{"name":""},', b'{"name":""}]}'),
    "parameters": (infer, b'{"inputs":[' + tail + b'],"parameters":{"a":[', b"{},", b"{}]}}"),
    "unknown": (infer, b'{"inputs":[' + tail + b'],"a":[', b'{"a":[{}]},', b"{}]}"),
    "lines": (table, b"", b"1\\n", b""),
    "lines of right width": (table, b"", b"1,1,1,1\\n", b""),
    "commas": (table, b"", b",", b""),
    "lines of commas": (table, b"", b",,,\\n", b""),
    "header": (table, b"a,b,c,d", b",x", b"\\n1,1,1,1\\n"),
    "quotes": (table, b"", b'"', b""),
    "cell": (table, b'"', b"x", b'"'),
    "cells over lines": (table, b"", b'"\\n",', b""),
    "other scripts": (table, b"", "\\u0661\\n".encode(), b""),
    "blank lines": (table, b"", b"\\n", b""),
}

def work(decode, body):
    try:
        decode(body)
    except Exception as error:
        assert hasattr(error, "code"), error

def resident(name):
    with open("/proc/self/status") as status:
        return int(re.search(name + r":\\s+(\\d+)", status.read())[1])

sys.setswitchinterval(1e-4)
for case, (decode, *parts) in cases.items():
    bodies = [fill(*parts) for _ in range(4)]
    threads = [threading.Thread(target=work, args=(decode, body)) for body in bodies]
    # Writing 5 resets the peak.
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = resident("VmRSS")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(resident("VmHWM") - before, case)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the peak of a process")
def test_four_hostile_bodies_together_use_little_memory():
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    grown = {case: int(size) for size, case in (x.split(" ", 1) for x in done.stdout.splitlines())}
    assert len(grown) == 20
    assert {case: size for case, size in grown.items() if size > 16_000} == {}
