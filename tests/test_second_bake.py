"""A bake over existing files: nothing of the owner's is lost, whatever it is."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ANSWERS, PROJECT_TEMPLATE, ROOT, BakedProject, environment_with
from hypothesis import example, given
from hypothesis import strategies as st
from test_commands import cruft, git, home, repository  # noqa: F401 # fixtures
from test_hooks import RULES, load_hook, template  # noqa: F401 # fixtures

COOKIECUTTER = Path(sys.executable).with_name("cookiecutter")
SLUG = "ml-inference-service"
HINTS = load_hook("pre_gen_project")

# An owner's files: new and changed ones, in every folder; None appends to the template's.
OWNERS = {
    "Dockerfile": None,
    "README.md": None,
    "pyproject.toml": None,
    ".gitlab-ci.yml": None,
    "training/train.py": None,
    "inference/predictor.py": None,
    "inference/static/page.css": None,
    "tests/test_model.py": None,
    "deploy/logs.sh": None,
    "requirements/train.in": None,
    "requirements.txt": None,
    "rehearsal/tasks.py": None,
    "model/README.md": None,
    "deploy/mine.sh": b"#!/bin/sh\r\nexit 0\r\n",
    "deploy/qa.json": b"{not json",
    "deploy/chart/templates/service.yaml": b"port: {{ .Values.port }}\n{% if x %}\n",
    "inference/static/logo.png": b"\x89PNG\r\n\x1a\n\x00\xff",
    "tests/test_mine.py": b"def test_mine(): pass\n",
    "tests/data/two.yml": b"a: 1\n---\nb: 2\n",
    "rehearsal/notes.txt": b"{{ cookiecutter.project_slug }}\n",
    "requirements/mine.in": b"pandas\n",
    "training/features.py": b"",
    "model/model.onnx": bytes(range(256)),
    "model/model.onnx.sha256": b"0\n",
    "variants/deploy_tool/ecs-cli/mine.txt": b"a folder of this name\n",
    "variants/README.md": b"mine\n",
    "data/iris.csv": b"1,2\n",
    "compose.yaml": b"services: [\n",
    "notes.yml": b"- [\n",
    ".env": b"SECRET=1\n",
}  # fmt: skip


def cookiecutter(folder, *options, source=ROOT, command=COOKIECUTTER, **variables):
    """Bake into ``folder``; return the completed process."""
    return subprocess.run(
        [command, "--no-input", "--default-config", "-o", folder, source, *options],
        capture_output=True,
        text=True,
        env=environment_with(**variables),
    )


def over(folder, *options, **keywords):
    """Bake over the project in ``folder``, which must succeed; return the output."""
    done = cookiecutter(folder, "-f", *options, **keywords)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def snapshot(folder):
    """Return every entry of a folder by its path: its kind, bytes and permissions."""
    entries = {}
    for root, folders, names in os.walk(os.fsencode(folder)):
        for name in folders + names:
            path = os.path.join(root, name)
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            else:
                content = None
            key = os.path.relpath(path, os.fsencode(folder))
            entries[key] = content, os.lstat(path).st_mode
    return entries


def make_owners(project):
    """Add an owner's files to a project; return their bytes."""
    for name, content in OWNERS.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.read_bytes() + b"\n# mine\n" if content is None else content)
    git(project, "init", "--quiet")
    return {name: (project / name).read_bytes() for name in OWNERS}


@pytest.fixture(scope="module")
def baked(tmp_path_factory):
    """A default project, to be copied."""
    folder = tmp_path_factory.mktemp("baked")
    assert cookiecutter(folder).returncode == 0
    return folder / SLUG


@pytest.fixture
def project(baked, tmp_path):
    """A default project."""
    return shutil.copytree(baked, tmp_path / SLUG)


@pytest.fixture
def owned(project):
    """A default project with an owner's files, and these files."""
    return project, make_owners(project)


def lost(project, files):
    """Return the owner's files that no longer exist in their original form."""
    kept = [project, *project.glob(".before-bake*")]
    return [
        name
        for name, content in files.items()
        if not any(
            (root / name).is_file() and (root / name).read_bytes() == content for root in kept
        )
    ]


OTHER_ANSWERS = ("deploy_tool=cloudformation", "model_framework=python")


@pytest.mark.parametrize("answers", [(), OTHER_ANSWERS], ids=["same", "other"])
def test_bake_over_a_project_keeps_what_it_replaces(owned, answers):
    project, files = owned
    before = snapshot(project)
    output = over(project.parent, *answers)
    assert lost(project, files) == []
    assert "Replaced files that differed from the template: " in output
    assert "The old files are in .before-bake: " in output
    kept = {str(path.relative_to(project / ".before-bake")) for path in (project / ".before-bake").rglob("*") if path.is_file()}  # fmt: skip
    changed = {name for name, content in OWNERS.items() if content is None}
    assert changed < kept
    if not answers:
        assert kept == {*changed, ".gitignore"}
    (left,) = [line for line in output.splitlines() if line.startswith("Left files that belong")]
    if answers:
        assert cookiecutter(project.parent / "fresh", *answers).returncode == 0
        fresh = BakedProject(project.parent / "fresh" / SLUG).files()
        files_now = {file for file in BakedProject(project).files() if file.parts[0] != ".git"}
        files_now -= {file for file in files_now if file.parts[0].startswith(".before-bake")}
        others = files_now.difference(fresh, map(Path, OWNERS))
        assert set(map(Path, left.partition(": ")[2].split())) == others
    assert not (project / ".variants").exists()
    assert snapshot(project).keys() >= before.keys()
    assert "# mine" not in (project / "Dockerfile").read_text()
    status = subprocess.check_output(["git", "status", "--short"], cwd=project, text=True)
    assert "before-bake" not in status

    # The next bake uses another folder.
    (project / "Dockerfile").write_text("FROM scratch\n")
    assert "The old files are in .before-bake-2: " in over(project.parent, *answers)
    assert (project / ".before-bake-2" / "Dockerfile").read_text() == "FROM scratch\n"
    assert lost(project, files) == []


@pytest.mark.parametrize("answers", [(), OTHER_ANSWERS], ids=["same", "other"])
def test_bake_that_skips_existing_files_changes_none_of_them(owned, answers):
    project, _ = owned
    (project / "deploy" / "doctor.sh").unlink()
    before = snapshot(project)
    output = over(project.parent, "-s", *answers)
    after = snapshot(project)
    assert {path: after.get(path) for path in before} == before
    (kept,) = [line for line in output.splitlines() if line.startswith("Kept files that differ")]
    changed = {name for name, content in OWNERS.items() if content is None}
    assert changed <= set(kept.partition(": ")[2].rstrip(".").split(", "))
    assert "once all files are as you want them" in output
    new = after.keys() - before.keys()
    assert b"deploy/doctor.sh" in new
    assert (b"deploy/stack.py" in new) == bool(answers)
    assert b".variants" not in new
    assert b".before-bake" not in new


def test_unchanged_project_is_baked_over_silently(tmp_path):
    first = cookiecutter(tmp_path)
    before = snapshot(tmp_path)
    assert over(tmp_path) == first.stdout
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("options", [(), ("-s",)], ids=["-f", "-f -s"])
def test_bake_into_a_fresh_clone(tmp_path, options):
    git(tmp_path, "init", "--quiet", "--bare", "remote")
    git(tmp_path, "clone", "--quiet", "remote", SLUG)
    project = tmp_path / SLUG
    before = snapshot(project)
    done = over(tmp_path, *options)
    assert done.startswith("Generated ")
    after = snapshot(project)
    assert {path: after.get(path) for path in before} == before
    assert BakedProject(project).has_file("deploy/ecs-cli.mk")


def test_readme_and_license_of_a_new_repository_are_kept(tmp_path):
    project = tmp_path / SLUG
    project.mkdir()
    (project / "README.md").write_text("# Ours\n")
    (project / "LICENSE").write_text("MIT\n")
    assert "Replaced files that differed from the template: README.md.\n" in over(tmp_path)
    assert (project / ".before-bake" / "README.md").read_text() == "# Ours\n"
    assert (project / "LICENSE").read_text() == "MIT\n"


def link_folder(project):
    shutil.move(project / "inference", project.parent / "elsewhere")
    (project / "inference").symlink_to("../elsewhere")
    (project.parent / "elsewhere" / "config.py").write_text("mine\n")


def link_file(project):
    shutil.move(project / "Dockerfile", project.parent / "shared")
    (project / "Dockerfile").symlink_to("../shared")
    (project.parent / "shared").write_text("mine\n")


def name_in_latin_1(project):
    (project / "deploy" / os.fsdecode(b"\xfcbung.sh")).write_text("mine\n")
    (project / os.fsdecode(b"\xfcbung")).mkdir()


def make_private(project):
    (project / "deploy" / "logs.sh").write_text("#!/bin/sh\nmine\n")
    (project / "deploy" / "logs.sh").chmod(0o700)


@pytest.mark.parametrize("options", [(), ("-s",)], ids=["-f", "-f -s"])
def test_links_names_and_permissions_are_preserved(project, tmp_path, options):
    for change in (link_folder, link_file, name_in_latin_1, make_private):
        change(project)
    before = snapshot(tmp_path)
    over(tmp_path, *options)
    after = snapshot(tmp_path)
    if options:
        assert after == before
    for path, (content, mode) in before.items():
        assert after[path][1] == mode, path
        if os.path.islink(os.path.join(os.fsencode(tmp_path), path)):
            assert after[path][0] == content
    kept = {str(path.relative_to(project / ".before-bake")) for path in project.glob(".before-bake/**/*") if path.is_file() and "mine" in path.read_text()}  # fmt: skip
    assert kept == (set() if options else {"inference/config.py", "Dockerfile", "deploy/logs.sh"})


def break_link(project):
    (project / "inference").symlink_to("../gone")


def break_link_of_file(project):
    (project / "Dockerfile").symlink_to("../gone/Dockerfile")


def put_file_where_folder_is(project):
    (project / "deploy").write_text("mine\n")


def put_folder_where_file_is(project):
    (project / "application.py" / "deep").mkdir(parents=True)
    (project / "application.py" / "deep" / "mine").write_text("mine\n")


def put_pipe_where_file_is(project):
    os.mkfifo(project / "Makefile")


# What is in the way of a folder stops every bake; what is in the way of a file, only one that replaces files.
IN_THE_WAY = {
    break_link: "inference: is not a folder",
    put_file_where_folder_is: "deploy: is not a folder",
}
IN_PLACE_OF_A_FILE = {
    break_link_of_file: "Dockerfile: is not a file",
    put_folder_where_file_is: "application.py: is not a file",
    put_pipe_where_file_is: "Makefile: is not a file",
}


@pytest.mark.parametrize(
    ("cases", "options"),
    [(IN_THE_WAY | IN_PLACE_OF_A_FILE, ()), (IN_THE_WAY, ("-s",))],
    ids=["-f", "-f -s"],
)
def test_obstacles_are_named_and_nothing_changed(tmp_path, cases, options):
    (tmp_path / SLUG).mkdir()
    for case in cases:
        case(tmp_path / SLUG)
    before = snapshot(tmp_path)
    done = cookiecutter(tmp_path, "-f", *options)
    assert done.returncode != 0
    first, *lines = done.stderr.split("ERROR")[0].splitlines()
    assert first == "The project was not generated, your files are unchanged:"
    for line, obstacle in zip(lines, sorted(cases.values()), strict=True):
        assert line.startswith(f"  {obstacle}, and the template has one of that name")
    assert snapshot(tmp_path) == before


def test_whatever_is_in_place_of_a_file_is_skipped(tmp_path):
    (tmp_path / SLUG).mkdir()
    for case in IN_PLACE_OF_A_FILE:
        case(tmp_path / SLUG)
    before = snapshot(tmp_path)
    over(tmp_path, "-s")
    after = snapshot(tmp_path)
    assert {path: after[path] for path in before} == before


# Without these capabilities, permissions bind root, too.
AS_A_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]  # fmt: skip


FILES = {"Dockerfile": 0o444, "Makefile": 0o000}
CANNOT_READ = "cannot be read or written; change its permissions"
CANNOT_WRITE = "inference/static: cannot be written to; change its permissions"
CANNOT_MOVE = "could not move existing files aside: [Errno 13] Permission denied: "


@pytest.mark.parametrize(
    ("modes", "options", "messages"),
    [
        (
            {**FILES, "inference/static": 0o555},
            (),
            [*(f"{name}: {CANNOT_READ}" for name in FILES), CANNOT_WRITE],
        ),
        (FILES, ("-s",), []),
        ({"inference/static": 0o555}, ("-s",), [CANNOT_WRITE]),
        ({"deploy": 0o555}, (), [f"{CANNOT_MOVE}'deploy'"]),
        ({"tests": 0o000}, (), [f"{CANNOT_MOVE}'tests'"]),
        ({".": 0o555}, (), ["is not writable. Change its permissions, or bake elsewhere"]),
    ],
)
def test_missing_permission_is_named_and_nothing_changed(owned, modes, options, messages):
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("needs setpriv, or a user that is not root")
    project, _ = owned
    (project / "inference" / "static" / "page.js").unlink()
    with open(project / "Makefile", "a") as file:
        file.write("# mine\n")
    before = snapshot(project)
    usual = {path: (project / path).stat().st_mode for path in modes}
    for path, mode in modes.items():
        (project / path).chmod(mode)
    user = AS_A_USER if os.geteuid() == 0 else []
    done = subprocess.run(
        [*user, COOKIECUTTER, "--no-input", "--default-config", "-o", project.parent, ROOT, "-f", *options],
        capture_output=True,
        text=True,
    )  # fmt: skip
    for path, mode in modes.items():
        assert (project / path).stat().st_mode & 0o777 == mode
        (project / path).chmod(usual[path])
    after = snapshot(project)
    assert {name: after.get(name) for name in before} == before
    if messages:
        assert done.returncode != 0
        for message in messages:
            assert message in done.stderr.split("ERROR")[0]
        assert after == before
    else:
        assert done.returncode == 0, done.stderr


def test_damaged_template_changes_no_existing_file(owned, template):  # noqa: F811
    project, _ = owned
    (template / PROJECT_TEMPLATE.name / "renovate.json").write_text("{")
    before = snapshot(project)
    done = cookiecutter(project.parent, "-f", source=template)
    assert done.returncode != 0
    assert "renovate.json: does not parse" in done.stderr
    assert "your files are unchanged" in done.stderr
    assert snapshot(project) == before


def test_leftover_staging_folder_is_refused(owned):
    project, _ = owned
    (project / ".variants" / "before").mkdir(parents=True)
    before = snapshot(project)
    done = cookiecutter(project.parent, "-f")
    assert done.returncode != 0
    line = done.stderr.splitlines()[0]
    assert line.startswith(f"The project was not generated: {project}/.variants is left over from")
    assert "run cp -a .variants/before/. . in the project" in line
    assert snapshot(project) == before


def test_interrupted_bake_is_repaired_as_its_refusal_says(owned, template):  # noqa: F811
    """Rendering fails between the hooks; the staging folder then holds the previous files."""
    project, files = owned
    (template / PROJECT_TEMPLATE.name / "renovate.json").write_text("{{ cookiecutter.nothing }}")
    assert cookiecutter(project.parent, "-f", source=template).returncode != 0
    assert (project / ".variants" / "before" / "deploy" / "mine.sh").is_file()
    subprocess.run("cp -a .variants/before/. . && rm -r .variants", shell=True, cwd=project, check=True)  # noqa: S602 # fmt: skip
    assert {name: (project / name).read_bytes() for name in files} == files
    over(project.parent, "-s")


def test_every_entry_of_a_project_is_set_aside():
    entries = {path.name for path in PROJECT_TEMPLATE.iterdir()} - {".variants"}
    entries |= {path.name for path in PROJECT_TEMPLATE.glob(".variants/*/*/*")}
    assert set(HINTS.ENTRIES) == entries


def test_requested_space_is_sufficient():
    used = sum(-path.stat().st_size // 4096 * -4096 for path in PROJECT_TEMPLATE.rglob("*"))
    assert used < HINTS.SPACE / 2


def test_full_disk_is_refused_before_anything_is_written(tmp_path):
    project = tmp_path / "small" / SLUG
    project.parent.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", project.parent]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        project.mkdir()
        (project / "Dockerfile").write_text("mine\n")
        before = snapshot(project)
        done = cookiecutter(project.parent, "-f")
        assert done.returncode != 0
        assert " kB free and a project needs 12000" in done.stderr.splitlines()[0]
        assert snapshot(project) == before
    finally:
        subprocess.run(["umount", project.parent], check=True)


def test_disk_that_fills_up_while_files_are_written(tmp_path, monkeypatch):
    post = load_hook("post_gen_project")
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / post.FRESH):
        (folder / "deploy").mkdir(parents=True)
        for name in ("Dockerfile", "deploy/a.sh", "deploy/b.sh"):
            (folder / name).write_text(f"{folder.name} {name}")
    (tmp_path / post.FRESH / "tests").mkdir()
    (tmp_path / post.FRESH / "tests" / "test_new.py").write_text("new")
    names = ["Dockerfile", "deploy/a.sh", "deploy/b.sh", "tests/test_new.py"]
    before = snapshot(tmp_path)
    plan = post.compare(names)
    move = shutil.move

    def fill_up(source, target):
        move(source, target)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(post.shutil, "move", fill_up)
    with pytest.raises(OSError, match="No space"):
        post.write(plan, dict.fromkeys(names, ""), keep=False)
    after = snapshot(tmp_path)
    assert after.keys() == before.keys() - {b".variants/fresh/tests/test_new.py"}
    assert all(after[path] == before[path] for path in after)


def test_template_from_a_zip_has_executable_scripts(tmp_path):
    archive = tmp_path / "template.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("template/", "")
        for path in [ROOT / "cookiecutter.json", *(ROOT / "hooks").glob("*.py"), *PROJECT_TEMPLATE.rglob("*")]:  # fmt: skip
            if path.is_file():
                file.writestr(f"template/{path.relative_to(ROOT)}", path.read_bytes())
    assert cookiecutter(tmp_path, source=archive).returncode == 0
    project = tmp_path / SLUG
    scripts = [path for path in project.rglob("*") if path.is_file() and path.read_bytes().startswith(b"#!")]  # fmt: skip
    assert len(scripts) > 20
    assert [path.name for path in scripts if path.stat().st_mode & 0o777 != 0o755] == []


def test_clone_with_windows_line_endings_bakes_working_scripts(home, repository, tmp_path):  # noqa: F811
    git(tmp_path, "clone", "--quiet", "--config", "core.autocrlf=true", repository, "clone")
    assert cookiecutter(tmp_path, source=tmp_path / "clone").returncode == 0
    project = BakedProject(tmp_path / SLUG)
    # And a colleague's clone of the project.
    git(project.path, "init", "--quiet")
    git(project.path, "add", "--all")
    git(project.path, "commit", "--quiet", "--message=project")
    git(tmp_path, "clone", "--quiet", "--config", "core.autocrlf=true", project.path, "theirs")
    for one in (project, BakedProject(tmp_path / "theirs")):
        tracked = [one.path / name for name in one.check("git", "ls-files").splitlines()]
        assert len(tracked) > 100
        assert [path for path in tracked if b"\r" in path.read_bytes()] == []
        one.check("deploy/ci-tools.sh", TOOLS="bash")


def test_template_with_windows_line_endings_is_refused(tmp_path, template):  # noqa: F811
    for path in template.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    done = cookiecutter(tmp_path / "out", source=template)
    assert done.returncode != 0
    lines = done.stderr.split("ERROR")[0].splitlines()
    assert lines[0] == "The project was not generated, its files are wrong:"
    assert lines[1].startswith("  .dockerignore: has Windows line endings (CR LF), one of 1")
    assert "git clone --config core.autocrlf=false" in lines[1]
    assert len(lines) == 2
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("answers", "is_good"),
    [((), True), (("container_port=80",), False), (("project_slug=a/b",), False)],
)
def test_hooks_leave_no_temporary_file(tmp_path, answers, is_good):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    # These must not be imported in place of the standard library's modules.
    for name in ("json.py", "re.py", "shutil.py", "yaml.py"):
        (temporary / name).write_text(
            "raise SystemExit('imported what lies among temporary files')"
        )
    done = cookiecutter(tmp_path / "out", *answers, TMPDIR=str(temporary))
    assert (done.returncode == 0) == is_good, done.stderr
    assert "imported" not in done.stderr
    assert sorted(path.name for path in temporary.iterdir()) == ["json.py", "re.py", "shutil.py", "yaml.py"]  # fmt: skip


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONPATH": "tests", "PYTHONSAFEPATH": "1"},
        {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONOPTIMIZE": "2"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_environment_has_no_effect_on_a_bake_over_a_project(owned, variables):
    project, files = owned
    over(project.parent, "description=Says who leaves.", **variables)
    assert lost(project, files) == []


def test_umask_has_no_effect_on_scripts(tmp_path):
    command = f"umask 077 && {COOKIECUTTER} --no-input --default-config {ROOT} -o {tmp_path}"
    subprocess.run(command, shell=True, check=True, capture_output=True)  # noqa: S602
    assert (tmp_path / SLUG / "deploy" / "logs.sh").stat().st_mode & 0o777 == 0o755


ORDINARY_NAMES = ["Churn", "Flower Shop", "ML Inference Service", "a1-b2"]
HARD_NAMES = ["3D Model", "AI", "", "—", "😀", "x" * 100, "x y" * 40, "Модель", "-x-", "a", "1", "12", "日本", "'", "{", "3" * 40, "x" * 30 + " y", "Churn Staging", "a production", "x" * 21 + " bootstrap"]  # fmt: skip


def default_slug(name):
    from cookiecutter.utils import create_env_with_context

    context = {"cookiecutter": {"project_name": name}}
    return create_env_with_context(context).from_string(ANSWERS["project_slug"]).render(**context)


@given(st.text(max_size=100))
@example("Churn")
def test_default_slug_is_valid(name):
    assert RULES["project_slug"].accepts(default_slug(name))


@pytest.mark.parametrize("name", [*ORDINARY_NAMES, *HARD_NAMES])
def test_default_slug_of_a_hard_name_is_valid(name):
    assert RULES["project_slug"].accepts(default_slug(name))


def test_default_slug_changes_no_more_than_necessary():
    assert [default_slug(name) for name in ORDINARY_NAMES] == ["churn", "flower-shop", "ml-inference-service", "a1-b2"]  # fmt: skip
    assert default_slug("Churn Staging") == "churn-staging-model"
    assert [default_slug(name) for name in HARD_NAMES[:4]] == ["ml-3d-model", "ml-ai", SLUG, SLUG]


@pytest.fixture(scope="session")
def releases(tmp_path_factory):
    """A function that gives the command of a cookiecutter release, installed into its own environment."""
    folder = tmp_path_factory.mktemp("releases")
    uv = Path(sys.executable).with_name("uv")

    def install(version):
        environment = folder / version
        if not environment.exists():
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)  # fmt: skip
            # Old releases import pkg_resources.
            install = [uv, "pip", "install", "--quiet", "--python", environment / "bin" / "python"]
            subprocess.run([*install, f"cookiecutter=={version}", "setuptools<80"], check=True)
        return environment / "bin" / "cookiecutter"

    return install


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("-s",)], ids=["-f", "-f -s"])
@pytest.mark.parametrize("version", ["2.1.0", "2.1.1", "2.2.3", "2.3.1", "2.4.0", "2.5.0", "2.6.0", "2.7.1"])  # fmt: skip
def test_every_release_of_cookiecutter_keeps_existing_files(owned, releases, version, options):
    project, files = owned
    before = snapshot(project)
    over(project.parent, *options, *OTHER_ANSWERS, command=releases(version))
    assert lost(project, files) == []
    after = snapshot(project)
    if options:
        assert {path: after.get(path) for path in before} == before


@pytest.mark.slow
def test_outdated_cookiecutter_is_refused_in_one_line(releases, tmp_path):
    done = cookiecutter(tmp_path / "out", command=releases("1.7.3"))
    assert done.returncode != 0
    lines = done.stderr.split("ERROR")[0].splitlines()
    assert len([line for line in lines if "too old" in line]) == 1
    assert "2.1 or later is required" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_cruft_over_a_project_keeps_existing_files(home, repository, owned):  # noqa: F811
    project, files = owned
    create = ("create", repository.as_uri(), "--no-input", "--output-dir", project.parent)
    cruft(project.parent, *create, "--overwrite-if-exists")
    assert lost(project, files) == []
    assert (project / ".cruft.json").is_file()
