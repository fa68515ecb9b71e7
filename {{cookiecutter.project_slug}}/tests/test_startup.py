"""Settings, the model file's checksum, and startup that must fail or succeed."""

import os
import re
import subprocess
import sys

import pytest

from inference.config import ROOT, Settings, available_cpus
from inference.errors import StartupError
from inference.runtime import artifact
from inference.runtime.artifact import checksum_path
from tests.server import Server, serving
from training.output import write_model


@pytest.fixture
def copy(tmp_path):
    """A model file, for tests that damage it."""
    return write_model(tmp_path / "model", b"a model").path


@pytest.fixture
def folder(tmp_path):
    """A model of several files, for tests that damage it."""
    return write_model(tmp_path / "model", {"weights": b"1 2", "words/en.txt": b"one two"}).path


def test_settings_come_from_the_environment():
    settings = Settings.from_environment({"PORT": "8080", "MAX_ROWS": "5", "WORKERS": ""})
    assert (settings.port, settings.max_rows, settings.workers) == (8080, 5, 0)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"LOG_LEVEL": "loud"}, "must be one of DEBUG, INFO, WARNING, ERROR"),
        ({"API_KEY": " , "}, "API_KEY holds no key"),
        ({"API_KEY": "schlüssel"}, "API_KEY holds a character that no header can carry"),
    ],
)
def test_invalid_setting_is_refused(variables, message):
    with pytest.raises(StartupError, match=message):
        Settings.from_environment(variables)


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(StartupError) as error:
        Settings.from_environment({"PORT": "http", "MAX_ROWS": "0", "LOG_LEVEL": "LOUD"})
    for fault in ("PORT='http': Expected `int`", "MAX_ROWS='0'", "LOG_LEVEL='LOUD'"):
        assert fault in str(error.value)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "25000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_quota_of_either_cgroup_version_limits_the_cpus(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert available_cpus(tmp_path) == expected


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda model: model.unlink(), "make train"),
        (lambda model: model.write_bytes(b"x"), r"is not the file that model\.sha256 names"),
        (lambda model: write_model(model, b"version https://git-lfs.x/v1\n"), "git lfs pull"),
        (
            lambda model: checksum_path(model).unlink(),
            r"model\.sha256: No such file.*sha256sum model >model\.sha256",
        ),
        (lambda model: checksum_path(model).write_bytes(b""), r"sha256: not a checksum file"),
        (lambda model: checksum_path(model).write_bytes(b"\xff"), r"sha256: not a checksum file"),
    ],
)
def test_model_that_is_not_as_it_was_written_is_refused(copy, spoil, fault):
    spoil(copy)
    with pytest.raises(StartupError, match=fault):
        artifact.read(copy)


def test_checksum_may_be_in_upper_case(copy):
    checksum = checksum_path(copy)
    checksum.write_text(checksum.read_text().upper())
    assert artifact.read(copy).content == copy.read_bytes()


def test_folder_is_read_if_each_file_matches_its_checksum(folder, tmp_path):
    model = artifact.read(folder)
    assert model.content == folder
    assert model.size == len(b"1 2one two")
    subprocess.run(["sha256sum", "--check", "model.sha256"], cwd=tmp_path, check=True)  # noqa: S607
    copy = write_model(tmp_path / "other name", folder)
    assert copy.version == artifact.read(copy.path).version == model.version
    assert write_model(folder, {"weights": b"1 2"}).version != model.version
    assert [file.name for file in tmp_path.iterdir() if "-" in file.name] == []


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda folder: (folder / "weights").write_bytes(b"1 3"), "model/weights"),
        (lambda folder: (folder / "words" / "de.txt").touch(), "model/words/de.txt"),
        (lambda folder: (folder / "words" / "en.txt").unlink(), "model/words/en.txt"),
    ],
)
def test_modified_folder_is_refused(folder, spoil, name):
    spoil(folder)
    with pytest.raises(StartupError, match=rf"{name} is not the file that model\.sha256 names"):
        artifact.read(folder)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PORT": "no"}, "PORT='no'"),
        ({"MODEL_PATH": "missing"}, "Could not read the model: missing"),
        ({"HOST": "192.0.2.1"}, "Could not listen at HOST=192.0.2.1 PORT="),
        ({"HOST": "no.such.host.invalid"}, "Could not listen at HOST=no.such.host.invalid PORT="),
    ],
)
def test_server_refuses_to_start_with_one_line(model_path, tmp_path, variables, message):
    server = Server(tmp_path / "log", **{"MODEL_PATH": model_path} | variables)
    assert message in refusal(server)


def test_model_that_no_worker_can_load_is_reported_once(copy, tmp_path):
    write_model(copy, b"not a model")
    server = Server(tmp_path / "log", MODEL_PATH=copy, WORKERS=2)
    assert re.search(rf"Could not load {copy}: .*; train or export it again$", refusal(server))


def refusal(server):
    """Return the only line of a server that must not start."""
    assert server.process.wait(timeout=60) == 1
    (line,) = server.log.read_text().splitlines()
    return line


def test_server_at_a_host_name_responds_and_stops_when_told(model_path, tmp_path):
    settings = {"MODEL_PATH": model_path, "HOST": "localhost", "WORKERS": 1}
    with serving(tmp_path / "log", **settings) as server:
        assert b" 200 OK" in server.wait()
        assert server.stop() == 0
        with pytest.raises(OSError, match="refused"):
            server.connect()


def test_nothing_is_written_to_the_home_directory(model_path, tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MODEL_PATH": str(model_path)}
    command = [sys.executable, "-m", "inference.expected"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_parent_of_the_workers_imports_nothing_that_starts_threads():
    # An existing thread would receive Ctrl-C instead of the one that waits for it.
    script = "import os, inference.__main__; print(len(os.listdir('/proc/self/task')))"
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    assert result.stdout.strip() == "1"
