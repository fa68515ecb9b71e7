"""The user's settings of the shell, git, pip and uv do not change what the project does."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import ROOT, environment_with, pack
from test_project import ask, free_port, running

pytestmark = pytest.mark.slow

# A proxy with no listener.
DEAD = "http://127.0.0.1:9"

# A folder in which another program has modules with the same names as this one's packages.
OTHER_PROGRAM = f"{ROOT}/tests/other_program"

# Shell variables, and the programs that set them.
VARIABLES = {
    "conda's HOST": {"HOST": "x86_64-conda-linux-gnu"},
    "a platform's PORT": {"PORT": "1"},
    "ENV, a file that sh reads": {"ENV": "/dev/null"},
    "ENV of a company": {"ENV": "dev"},
    "names that make takes": {
        "FORCE": "1",
        "FOR": "x",
        "N": "9",
        "TEST_URL": "http://127.0.0.1:1",
        "UPGRADE": "--upgrade",
    },
    "modules of another program": {"PYTHONPATH": OTHER_PROGRAM},
    "Python's home": {"PYTHONHOME": "/nonexistent"},
    "no bytecode, no assertions": {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONOPTIMIZE": "2"},
    "strict Python": {"PYTHONWARNINGS": "error", "PYTHONSAFEPATH": "1", "PYTHONINSPECT": "1"},
    "an environment that is active": {
        "VIRTUAL_ENV": "/nonexistent",
        "CONDA_PREFIX": "/nonexistent",
    },
    "a log level in small letters": {"LOG_LEVEL": "debug"},
    "no locale": {"LC_ALL": "C", "LANG": "C"},
    "an unknown locale": {"LC_ALL": "xx_YY.UTF-8"},
    "temporary files on another disk": {"TMPDIR": "/dev/shm"},
    "a home that cannot be written": {"HOME": "/dev/null"},
    "no home": {"HOME": None},
    "proxies": {"HTTP_PROXY": DEAD, "http_proxy": DEAD, "HTTPS_PROXY": DEAD, "ALL_PROXY": DEAD},
    "AWS": {"AWS_PROFILE": "nobody", "AWS_CONFIG_FILE": "/nonexistent", "AWS_REGION": "xx-y-9"},
    "folders for cd": {"CDPATH": "/usr"},
    "colours": {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"},
    "make in parallel": {"MAKEFLAGS": "-j8"},
}

# Settings of git's configuration file.
GIT_SETTINGS = {
    "signed commits": "[commit]\n gpgsign = true\n[user]\n signingkey = nobody",
    "hooks": "[core]\n hooksPath = /nonexistent",
    "a template with hooks": "[init]\n templateDir = /nonexistent",
    "Windows line ends": "[core]\n autocrlf = true",
    "signatures in the log": "[log]\n showSignature = true",
    "another first branch": "[init]\n defaultBranch = trunk",
    "no untracked files in status": "[status]\n showUntrackedFiles = no",
    "coloured, other diffs": "[color]\n ui = always\n[diff]\n noprefix = true\n external = false",
    "short status with a branch": "[status]\n short = true\n branch = true",
}


@pytest.fixture(scope="module")
def repository(installed):
    """The project as its owner's repository: a commit, and a change on top of it."""

    def git(*arguments):
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
        installed.check("git", *identity, *arguments)

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message=first", "--date=2020-02-29T12:00Z")
    (installed.path / "notes.txt").write_text("untracked\n")
    readme = installed.read("README.md")
    (installed.path / "README.md").write_text(f"{readme}\nchanged\n")
    yield installed
    (installed.path / "README.md").write_text(readme)
    (installed.path / "notes.txt").unlink()
    subprocess.run(["rm", "-r", installed.path / ".git"], check=True)


def changed(variables):
    """Return the tests' environment with ``variables``; a value of None unsets the variable."""
    environment = environment_with() | variables
    return {name: value for name, value in environment.items() if value is not None}


def plan(project, environment):
    """Return the planned steps of a release, including the image tag, and what they read from the environment."""
    done = subprocess.run(
        ["make", "--dry-run", "-j1", "release", "destroy", "iam-policy"],
        cwd=project.path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("variables", pack(VARIABLES.values()))
def test_shell_variables_change_nothing(repository, variables):
    environment = changed(variables)
    assert plan(repository, environment) == plan(repository, changed({}))
    port = free_port()
    with running(repository, "make", "run", f"PORT={port}", environment=environment):
        assert ask(f"http://127.0.0.1:{port}/ping")[0] == 200


def test_shell_variables_reach_no_step(repository):
    (repository.path / "probe.mk").write_text(
        "include Makefile\nprobe:\n\t@echo [$(ENV)] [$$FORCE] [$$FOR] [$$N] [$$PYTHONPATH] [$$UPGRADE] [$$TEST_URL]\n"
    )
    given = {"ENV": "dev", "FORCE": "1", "FOR": "x", "N": "2", "PYTHONPATH": "x", "UPGRADE": "x"}
    given["TEST_URL"] = "http://127.0.0.1:1"
    command = ("make", "--file=probe.mk", "probe")
    try:
        assert repository.check(*command, **given) == "[production] [] [] [] [] [] []\n"
        assert "[staging] [1]" in repository.check(*command, "ENV=staging", "FORCE=1")
        # A pipeline job sets it in the environment.
        assert "[staging]" in repository.check(*command, ENV="staging", CI="true")
    finally:
        (repository.path / "probe.mk").unlink()


@pytest.mark.parametrize("tool", ["ecs-cli", "cloudformation"])
def test_ignored_environment_from_the_shell_is_reported(bake, tool):
    other = {"ecs-cli": "staging", "cloudformation": "production"}[tool]
    project = bake(deploy_tool=tool)
    assert (
        f"ENV={other} from the shell is ignored, set it on make's command line"
        in project.run("make", ENV=other).stderr
    )
    assert project.run("make", f"ENV={other}").stderr == ""
    assert project.run("make", ENV="dev").stderr == ""


def test_git_settings_change_neither_tag_nor_date(repository, tmp_path):
    (tmp_path / "gitconfig").write_text("\n".join(GIT_SETTINGS.values()))
    mine = changed({"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")})
    tag = re.search(r"REVISION=(\w+-dirty-\w+)", plan(repository, mine))
    assert tag
    assert plan(repository, mine) == plan(repository, changed({}))


def test_repository_that_git_refuses_is_reported_in_gits_words(repository):
    result = repository.run("make", "doctor", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert "dubious ownership" in result.stderr
    assert "safe.directory" in result.stderr
    assert "git init" not in result.stderr


def test_another_python_recreates_the_environment(repository):
    result = repository.run("make", "setup", "PYTHON=no-such-python")
    assert result.returncode != 0
    assert "no-such-python" in result.stderr


@pytest.mark.parametrize(
    ("environment", "complete"), [(".venv", "bin/.complete"), ("rehearsal/.venv", ".complete")]
)
def test_environment_whose_python_was_upgraded_is_recreated(bake, environment, complete):
    project = bake()
    folder = project.path / environment
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text(f"executable = {os.path.realpath(sys.executable)}\n")
    (folder / complete).touch()
    command = ("make", "--dry-run", f"{environment}/{complete}")
    assert f"install.py {environment} " not in project.check(*command)
    for other in ("/nonexistent/python3", "/bin/sh"):
        python.unlink()
        python.symlink_to(other)
        assert f"install.py {environment} " in project.check(*command)


def test_aws_cli_that_does_not_start_is_replaced(bake):
    project = bake(deploy_tool="cloudformation")
    (project.path / ".aws-cli" / "bin").mkdir(parents=True)
    script = project.path / ".aws-cli" / "bin" / "aws"
    script.write_text("#!/nonexistent/python3\n")
    script.chmod(0o755)
    result = project.run("make", "aws-cli", "PYTHON=echo")
    assert "requirements/install.py .aws-cli requirements/aws.txt" in result.stdout


def test_old_python_is_refused_in_one_line(repository, tmp_path):
    """Use an interpreter that claims to be an old one."""
    script = repository.read("requirements/install.py")
    old = "import sys\nsys.version_info = (3, 10, 13)\n"
    (tmp_path / "install.py").write_text(script.replace("import ast\n", f"{old}import ast\n"))
    result = subprocess.run(
        [sys.executable, tmp_path / "install.py", "x", "y"], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert re.fullmatch(r"Python 3\.11 or newer is needed, \S+ is 3\.10\.13: .+\n", result.stderr)


def test_port_in_use_and_wrong_host_are_one_line(repository):
    port = free_port()
    with running(repository, "make", "run", f"PORT={port}"):
        assert ask(f"http://127.0.0.1:{port}/ping")[0] == 200
        result = repository.run("make", "run", f"PORT={port}")
    assert f"PORT={port}: the port is in use, take another PORT" in result.stderr
    assert "Traceback" not in result.stderr
    result = repository.run("make", "run", "HOST=no.such.host.invalid")
    assert "Could not listen at HOST=no.such.host.invalid" in result.stderr


def add_wheel(index, name, files):
    """Add version 1 of a package to an index; return the line that pins it in a lock."""
    folder = index / "simple" / name
    folder.mkdir(parents=True)
    info = f"{name}-1.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    wheel = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            entry = zipfile.ZipInfo(file)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, text)
    (folder / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    return f"{name}==1 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


# Other settings of a machine's own index.
OTHER_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")


@contextlib.contextmanager
def breaking_index(folder):
    """Serve an index that breaks off the first transfer of each wheel; yield its URL and their names."""
    broken = set()

    class Handler(SimpleHTTPRequestHandler):
        def copyfile(self, source, outputfile):
            if self.path.endswith(".whl") and self.path not in broken:
                broken.add(self.path)
                outputfile.write(source.read(100))
                self.close_connection = True
            else:
                super().copyfile(source, outputfile)

        def log_message(self, *arguments):
            pass

    handler = partial(Handler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple", broken
        server.shutdown()


def test_pip_and_uv_settings_other_than_the_package_source_change_nothing(repository, tmp_path):
    """Set all of them at once, with an index that breaks off transfers; its uv starts the project's."""
    (tmp_path / "constraints.txt").write_text("uv==0.0.1\n")
    (tmp_path / "pip.conf").write_text("[install]\nuser = true\ntarget = /nonexistent\n")
    (tmp_path / "other").mkdir()
    variables = {
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
        "PIP_CONSTRAINT": str(tmp_path / "constraints.txt"),
        "PIP_NO_BINARY": ":all:",
        "PIP_PREFIX": "/nonexistent",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_ROOT": "/nonexistent",
        "PYTHONHOME": "/nonexistent",
        "UV_CONSTRAINT": str(tmp_path / "constraints.txt"),
        "UV_NO_BINARY": "1",
        "UV_PYTHON": "3.9",
        "UV_PROJECT_ENVIRONMENT": str(tmp_path / "other"),
        "UV_SYSTEM_PYTHON": "1",
        "UV_TARGET": str(tmp_path / "other"),
        "HOME": "/dev/null",
        "LC_ALL": "C",
    }
    shutil.copy(repository.path / "requirements" / "install.py", tmp_path)
    uv = f'#!/bin/sh\nexec "{(repository.path / ".venv/bin/uv").resolve()}" "$@"\n'
    (tmp_path / "uv.txt").write_text(add_wheel(tmp_path, "uv", {"uv-1.data/scripts/uv": uv}))
    files = {"tiny.py": "", "tiny-1.data/scripts/tiny": "#!python\nprint('started')\n"}
    (tmp_path / "lock.txt").write_text(add_wheel(tmp_path, "tiny", files))
    with breaking_index(tmp_path) as (url, broken):
        # -I makes this Python the caller's, not make's.
        done = subprocess.run(
            [sys._base_executable, "-I", "install.py", "venv", "lock.txt"],
            cwd=tmp_path,
            env=changed({**variables, "PIP_INDEX_URL": url, **dict.fromkeys(OTHER_INDEXES)}),
            umask=0o077,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert len(broken) == 2
    assert list((tmp_path / "venv").rglob("tiny.py"))
    assert not list((tmp_path / "other").iterdir())
    # A project that is renamed keeps its commands.
    moved = (tmp_path / "venv").rename(tmp_path / "another folder")
    assert subprocess.check_output([moved / "bin" / "tiny"], text=True) == "started\n"


def test_folder_that_venv_refuses_is_named_in_one_line(repository, tmp_path):
    installer, lock = (repository.path / "requirements" / name for name in ("install.py", "uv.txt"))
    command = [repository.path / ".venv/bin/python", installer, tmp_path / "a:b", lock]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert re.fullmatch("Could not create the environment .* PATH separator :.\n", result.stderr)


def test_mirror_configured_for_pip_is_the_only_source(repository, tmp_path):
    """Configure it by file and by environment; an unreachable mirror is named."""
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {DEAD}/simple\nretries = 0\n")
    installer, lock = (repository.path / "requirements" / name for name in ("install.py", "uv.txt"))
    for variables in (
        {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")},
        {"PIP_INDEX_URL": f"{DEAD}/simple"},
    ):
        done = subprocess.run(
            [repository.path / ".venv/bin/python", installer, tmp_path / "venv", lock],
            env=changed({"UV_HTTP_RETRIES": "0", "UV_NO_CACHE": "1", **variables}),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "127.0.0.1:9" in done.stderr
        assert f"Could not install {lock}" in done.stderr


@pytest.mark.parametrize("target", ["setup", "train", "import", "evaluate"])
def test_interrupted_make_shows_no_traceback(repository, bake, target):
    project = bake() if target == "setup" else repository
    with running(project, "make", target, "MODEL=x", "IN=x", "LABELS=x") as process:
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert "Traceback" not in output
