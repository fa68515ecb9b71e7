"""A running service and its test helpers: the page in a browser, the API with Schemathesis."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait
from test_project import ask, free_port


@contextlib.contextmanager
def serving(project, **variables):
    """Yield the address of the service while it runs."""
    port = free_port()
    process = subprocess.Popen(
        [".venv/bin/python", "-m", "inference"],
        cwd=project.path,
        env={**os.environ, "PORT": str(port), "WORKERS": "1", "MAX_ROWS": "100", **variables},
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        ask(f"{url}/ping")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def element(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector)


def shown(page, selector):
    """Return the element once it is visible."""
    WebDriverWait(page, 10).until(lambda _: element(page, selector).is_displayed())
    return element(page, selector)


def run(page):
    """Press Predict; wait for the answer."""
    rows = len(page.find_elements(By.CSS_SELECTOR, "#history tbody tr"))
    element(page, "#inputs > button").click()
    WebDriverWait(page, 10).until(
        lambda _: len(page.find_elements(By.CSS_SELECTOR, "#history tbody tr")) == rows + 1
    )


def ask_by_page(browser, url):
    """Submit the example, then submit it again without its optional values."""
    browser.get_log("browser")
    browser.get(url)
    run(browser)
    for field in browser.find_elements(By.CSS_SELECTOR, "#inputs [data-type]:not([required])"):
        if field.tag_name == "select":
            Select(field).select_by_value("")
        elif field.get_attribute("type") != "checkbox":
            field.clear()
    run(browser)
    assert shown(browser, ".answer output").text
    assert browser.get_log("browser") == []


def control(page, name):
    return element(page, f'#inputs [name="{name}"]')


def find_failures(url, folder, examples):
    """Fuzz each route by the OpenAPI document, with valid and invalid requests; return the number of test cases."""
    # A request can be valid by the schema and still not fit: a tensor's data must fill its shape, and the model's
    # answer must be finite. A request that breaks the schema may also be too large.
    statuses = [400, 404, 405, 406, 413, 415, 422]
    (folder / "schemathesis.toml").write_text(
        f"[checks.negative_data_rejection]\nexpected-statuses = {statuses}\n"
    )
    result = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            *("run", f"{url}/openapi.json", "--checks=all", "--no-color"),
            *("--exclude-checks=positive_data_acceptance", "--generation-deterministic"),
            *(f"--max-examples={examples}", "--workers=2"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    return int(re.search(r"(\d+) generated", result.stdout)[1])
