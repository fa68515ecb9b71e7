"""Invalid answers: each is refused with its rule, all at once, and nothing is left on disk."""

import importlib.util
import shutil
import string
from ipaddress import IPv4Network
from itertools import zip_longest

import pytest
from conftest import ANSWERS, CHOICES, PROJECT_TEMPLATE, ROOT, bake_with
from cookiecutter.exceptions import FailedHookException
from hypothesis import given
from hypothesis import strategies as st
from jinja2.exceptions import UndefinedError


def load_hook(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hook = load_hook("pre_gen_project")
RULES = {rule.answer: rule for rule in hook.RULES}

WRONG = {
    "project_name": ["", " ", " Churn", "Churn ", "a\nb", "a\tb", "a\x00b", "a\u2028b", "a\u200bb", "a\u202eb", "x" * 101],
    "project_slug": [
        "ab", "x" * 32, "Churn", "churn_model", "churn model", "-churn", "churn-", "churn--model",
        "1churn", "chürn", "churn\n", "churn:model", "CON", "churn-staging", "churn-production", "churn-bootstrap",
    ],
    "description": ["", " ", "one\ntwo", "tab\there", "escape\x1b[0m", "x" * 501, "\ue000", " x"],
    "aws_account_id": ["", "12345678901", "1234567890123", "1234-5678-9012", "12345678901x", "１２３４５６７８９０１２"],
    "aws_region": ["", "us-east", "us-east-", "us-esat-1", "eu-centrall-1", "US-EAST-1", "us-east-1a", "frankfurt", "us_east_1"],
    "cluster_name": ["", "-models", "models-", "my models", "my_models", "1models", "x" * 100, "a-" * 50 + "a", "a--b"],
    "container_port": ["", "80", "1023", "65536", "-5000", "5000.0", "05000", "http", "+5000", " 5000", "５０００"],
    "task_cpu": ["", "0", "128", "255", "1000", "0.25", "256 ", "32768", ".25 vCPU"],
    "task_memory": ["", "0", "511", "0.5GB", "3072", "512MB", "-512"],
    "gitlab_project": ["", "churn", "/group/churn", "group/", "group//churn", "group/-churn", "group/churn.git", "a b/c", "https://gitlab.com/group/churn"],
    "allowed_cidr": ["", "everyone", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "::/0", "256.0.0.0/8", "10.0.0.0/255.0.0.0"],
}  # fmt: skip

# Each bake tries one wrong value of every answer except task_cpu, on which the rule of task_memory depends.
ROUNDS = [
    *(
        {answer: value for answer, value in zip(WRONG, values, strict=True) if value is not None}
        for values in zip_longest(*({**WRONG, "task_cpu": []}).values())
    ),
    *({"task_cpu": value} for value in WRONG["task_cpu"]),
]


def leftovers(tmp_path):
    return list(tmp_path.glob("cookies/*/*"))


@pytest.mark.parametrize("answers", ROUNDS)
def test_wrong_answers_are_refused_with_their_rules_at_once(cookies, capfd, tmp_path, answers):
    result = bake_with(cookies, answers)
    assert isinstance(result.exception, FailedHookException)
    error = capfd.readouterr().err
    for answer in answers:
        (line,) = [line for line in error.splitlines() if line.startswith(f"  {answer}: ")]
        assert " must be " in line
        assert ", for example " in line
    assert "Traceback" not in error.split(line)[0]
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("slug", ["", ".", "..", "churn/model", "../churn", "/tmp/churn", "a\\b"])
def test_slug_that_is_a_path_is_refused_before_a_directory_is_created(cookies, tmp_path, slug):
    result = bake_with(cookies, {"project_slug": slug})
    assert isinstance(result.exception, UndefinedError)
    assert "project_slug: must be 3 to 31 " in str(result.exception)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.name != "bake00") == ["cookies"]


def test_table_covers_every_free_answer():
    assert WRONG.keys() == ANSWERS.keys() - CHOICES.keys()
    assert sum(map(len, WRONG.values())) >= 60


@pytest.mark.parametrize("answer", ["project_name", "description", "gitlab_project"])
def test_template_code_in_an_answer_is_refused(answer):
    # cookiecutter itself would execute it, so it never gets as far as a bake.
    for code in ("a/{{ 1 }}", "a/{% if %}", "a/{# note #}"):
        assert not RULES[answer].accepts(code)


def test_all_errors_are_named_at_once(cookies, capfd, tmp_path):
    result = bake_with(cookies, {answer: values[1] for answer, values in WRONG.items()})
    assert isinstance(result.exception, FailedHookException)
    error = capfd.readouterr().err
    for answer in WRONG:
        assert f"\n  {answer}: " in error
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "value", "hint"),
    [
        ("aws_region", "us-esat-1", "did you mean us-east-1?"),
        ("aws_region", "eu-central1", "did you mean eu-central-1?"),
        ("aws_region", "EU-WEST-2", "did you mean eu-west-2?"),
        ("allowed_cidr", "10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        ("allowed_cidr", "10.0.0.1", "did you mean 10.0.0.1/32?"),
    ],
)
def test_near_miss_gets_a_hint(answer, value, hint):
    rule = RULES[answer]
    assert not rule.accepts(value)
    assert hook.fault(rule, value).endswith(hint)


GOOD = {
    "project_name": ["X", "Über-Modell №1", "日本語", "x" * 100, 'a "b" \\ c'],
    "project_slug": ["abc", "a1-b2-c3", "x" * 31, "staging", "churn-staging-2"],
    "description": ["x", "{braces}", "$HOME % # : ' \" \\", "naïve – “quoted” …"],
    "aws_region": ["us-east-1", "ap-southeast-7", "cn-northwest-1", "us-gov-west-1", "mx-central-1"],
    "container_port": ["1024", "5000", "65535"],
    "cluster_name": ["a", "Models2", "a-b-c", "x" * 99],
    "gitlab_project": ["a/b", "group/sub.group/my_project-2"],
    "allowed_cidr": ["0.0.0.0/0", "10.0.0.0/8", "203.0.113.7/32"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "value"), [(a, v) for a, values in GOOD.items() for v in values]
)
def test_good_answer_is_accepted(answer, value):
    assert RULES[answer].accepts(value)


def test_every_rule_accepts_its_own_example():
    for rule in hook.RULES:
        assert rule.accepts(rule.example)


def test_fargate_sizes_match_its_documentation():
    pairs = [(cpu, memory) for cpu, sizes in hook.FARGATE_MEMORY.items() for memory in sizes]
    assert len(pairs) == 3 + 4 + 7 + 13 + 23 + 12 + 12
    assert [sizes[-1] for sizes in hook.FARGATE_MEMORY.values()] == [
        2048, 4096, 8192, 16384, 30720, 61440, 122880
    ]  # fmt: skip


@given(cpu=st.sampled_from(list(hook.FARGATE_MEMORY)), memory=st.integers(0, 200_000))
def test_memory_is_accepted_only_with_its_cpu(cpu, memory):
    rule = hook.task_memory_rule(str(cpu))
    assert rule.accepts(str(memory)) == (memory in hook.FARGATE_MEMORY[cpu])
    assert f"with task_cpu {cpu}: {hook.FARGATE_MEMORY[cpu][0]}, " in rule.rule


@given(st.text(max_size=40))
def test_accepted_slug_is_a_valid_name_everywhere(slug):
    if RULES["project_slug"].accepts(slug):
        assert set(slug) <= set(string.ascii_lowercase + string.digits + "-")
        assert slug[0].isalpha()
        assert slug[-1] != "-"


@given(st.ip_addresses(v=4), st.integers(0, 34))
def test_network_is_accepted_as_ipaddress_does(address, bits):
    value = f"{address}/{bits}"
    try:
        expected = str(IPv4Network(value)) == value
    except ValueError:
        expected = False
    assert RULES["allowed_cidr"].accepts(value) == expected
    if bits <= 32:
        assert RULES["allowed_cidr"].accepts(str(IPv4Network(value, strict=False)))


@given(st.integers(-10, 70_000))
def test_port_is_accepted_only_in_its_range(port):
    assert RULES["container_port"].accepts(str(port)) == (1024 <= port <= 65535)


@given(st.dictionaries(st.sampled_from(list(WRONG)), st.text(max_size=60)))
def test_any_text_is_accepted_or_refused_in_one_line(answers):
    defaults = {"task_cpu": "256", "task_memory": "512"}
    examples = {rule.answer: rule.example for rule in hook.RULES}
    faults = hook.find_faults({**examples, **defaults, **answers})
    assert len(faults) <= len(answers) + ("task_cpu" in answers)
    assert all(len(fault.splitlines()) == 1 for fault in faults)


@pytest.fixture
def template(tmp_path):
    """A copy of the template, for tests that damage it."""
    copy = tmp_path / "template"
    shutil.copytree(PROJECT_TEMPLATE, copy / PROJECT_TEMPLATE.name)
    shutil.copytree(ROOT / "hooks", copy / "hooks")
    shutil.copy(ROOT / "cookiecutter.json", copy)
    return copy


def test_express_mode_is_open_to_everyone(capfd, cookies):
    result = bake_with(cookies, {"deploy_tool": "express", "allowed_cidr": "10.0.0.0/8"})
    assert isinstance(result.exception, FailedHookException)
    said = capfd.readouterr().err
    assert "allowed_cidr: '10.0.0.0/8' must be everyone with deploy_tool express" in said
    assert bake_with(cookies, {"deploy_tool": "express"}).exit_code == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("Dockerfile", "EXPOSE {{ cookiecutter.container_port }}", "EXPOSE 80", "has '80' where container_port is '5000'"),
        ("Makefile", "export SERVICE_PORT :=", "PORT =", "Makefile: container_port is not where it should be"),
        (".variants/deploy_tool/ecs-cli/docker-compose.yml", "image: ${IMAGE:-{{ cookiecutter.project_slug }}", "image: ${IMAGE:-x", "has 'x' where project_slug is"),
        (".variants/deploy_tool/ecs-cli/ecs-params.yml", "{{ cookiecutter.task_memory }}", "1024", "ecs-params.yml: has '1024' where task_memory is '512'"),
        (".variants/deploy_tool/ecs-cli/ecs-trust-policy.json", "}", "", "ecs-trust-policy.json: does not parse"),
        (".gitlab-ci.yml", "stages:", "stages: {", ".gitlab-ci.yml: does not parse"),
        ("README.md", "# ", "# {% raw %}{% if x %}{% endraw %}", "README.md: holds template code"),
    ],
)  # fmt: skip
def test_damaged_template_is_refused(cookies, capfd, tmp_path, template, file, old, new, message):
    path = template / PROJECT_TEMPLATE.name / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    result = cookies.bake(template=str(template))
    assert isinstance(result.exception, FailedHookException)
    assert message in capfd.readouterr().err
    assert leftovers(tmp_path) == []


def test_undamaged_copy_of_the_template_bakes(cookies, template):
    assert cookies.bake(template=str(template)).exception is None


@pytest.mark.parametrize("name", ["__workers", "__model_file", "__ecr_registry"])
def test_private_variable_given_as_an_answer_is_refused(cookies, capfd, name):
    result = cookies.bake(extra_context={name: "7"})
    assert result.exception is not None
    assert f"{name}: '7' was given, but '" in capfd.readouterr().err
    assert result.project_path is None
