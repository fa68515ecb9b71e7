"""The prediction page in a real browser."""

import base64
import contextlib
import csv
import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from conftest import ROOT
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait
from served import control, element, run, serving, shown
from test_models import MODELS, copy_with, copy_with_tensors

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(train):
    return train(model_framework="python", project_name="Flower Shop & Sons")


@pytest.fixture(scope="module")
def url(project):
    with serving(project) as url:
        yield url


@pytest.fixture
def page(browser, url):
    """The page, freshly loaded; the console must hold no error at the end."""
    browser.set_window_size(1000, 1000)
    browser.get_log("browser")
    browser.get(url)
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def fill(page, *values):
    """Put values into the fields."""
    for field, value in zip(
        page.find_elements(By.CSS_SELECTOR, "#inputs input"), values, strict=True
    ):
        field.clear()
        field.send_keys(str(value))


def test_one_flower_is_predicted_with_probabilities_and_a_curl_line(page, url):
    assert page.title == "Flower Shop & Sons"
    fill(page, 5.1, 3.5, 1.4, 0.2)
    run(page)
    assert shown(page, ".answer output").text == "setosa"
    bars = page.find_elements(By.CSS_SELECTOR, "#probabilities meter")
    assert len(bars) == 3
    assert float(bars[0].get_attribute("value")) > 0.9
    assert float(element(page, "#latency").text) > 0
    curl = element(page, "#curl").text
    answer = subprocess.run(["bash", "-c", curl], capture_output=True, check=True).stdout
    assert b'"predictions":["setosa"]' in answer


def test_history_keeps_each_request_of_the_visit(page):
    for width in (0.2, 2.3):
        fill(page, 6.0, 3.0, 1.4 if width < 1 else 5.5, width)
        run(page)
    rows = page.find_elements(By.CSS_SELECTOR, "#history tbody tr")
    assert [row.find_elements(By.TAG_NAME, "td")[0].text for row in rows] == ["virginica", "setosa"]


def test_page_works_by_keyboard_alone(page):
    first = element(page, "#inputs input")
    first.send_keys(Keys.ENTER)
    assert shown(page, ".answer output").text
    order = []
    for _ in range(20):
        ActionChains(page).send_keys(Keys.TAB).perform()
        order.append(page.switch_to.active_element.get_attribute("id"))
    assert {"copy", "language", "link", "file"} <= set(order)


def test_every_field_has_a_label(page):
    for field in page.find_elements(By.CSS_SELECTOR, "input"):
        assert field.accessible_name


def test_refused_input_is_explained(browser, url):
    browser.get(url)
    fill(browser, "1e39", 1, 1, 1)
    element(browser, "#inputs > button").click()
    assert "sepal_length_cm" in shown(browser, "#problem").text
    browser.get_log("browser")  # Chromium notes the status 422


def upload(page, path):
    """Choose a file; wait until it is answered or refused."""
    page.execute_script("document.getElementById('batch-status').textContent = ''")
    element(page, "#file").send_keys(str(path))
    status = lambda: element(page, "#batch-status").text  # noqa: E731
    is_done = lambda _: status() and not element(page, "#progress").is_displayed()  # noqa: E731
    WebDriverWait(page, 60).until(is_done)
    return status()


def downloaded(page, folder, encoding="utf-8", **form):
    """Return the rows of the file that the link downloads."""
    behavior = {"behavior": "allow", "downloadPath": str(folder)}
    page.execute_cdp_cmd("Browser.setDownloadBehavior", behavior)
    file = folder / element(page, "#download").get_attribute("download")
    element(page, "#download").click()
    WebDriverWait(page, 10).until(lambda _: file.exists())
    return list(csv.DictReader(io.StringIO(file.read_bytes().decode(encoding), newline=""), **form))


FEATURES = "sepal_length_cm,sepal_width_cm,petal_length_cm,petal_width_cm"


@pytest.mark.parametrize("rows", [1, 250])
def test_csv_file_is_answered_row_by_row(page, tmp_path, rows):
    lines = ["5.1,3.5,1.4,0.2", "6.7,3.0,5.2,2.3"]
    path = tmp_path / "flowers.csv"
    path.write_text("\r\n".join([f"id,{FEATURES}", *(f"{n},{lines[n % 2]}" for n in range(rows))]))
    assert upload(page, path) == f"{rows} of {rows} rows"
    answers = downloaded(page, tmp_path)
    assert [answer["id"] for answer in answers] == [str(number) for number in range(rows)]
    assert [a["species"] for a in answers] == [("setosa", "virginica")[n % 2] for n in range(rows)]
    assert element(page, "#download").get_attribute("download") == "flowers-predictions.csv"


@pytest.mark.parametrize(("row", "separator"), [("5.1,3.5,1.4,0.2", ","), ("5,1;3,5;1,4;0,2", ";")])
def test_csv_file_without_a_heading_is_answered(page, tmp_path, row, separator):
    path = tmp_path / "flowers.csv"
    path.write_text(f"{row}\n")
    assert upload(page, path) == "1 of 1 rows"
    assert downloaded(page, tmp_path, delimiter=separator)[0]["species"] == "setosa"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", "flowers.csv has no rows."),
        (f"{FEATURES}\n", "flowers.csv has no rows."),
        (f"{FEATURES}\n1,2,3,x\n", "0 of 1 rows; 1 failed, see below"),
        (f"{FEATURES}\n1,2,3\n", "0 of 1 rows; 1 failed, see below"),
        (
            "sepal_length_cm,b,c,d\n1,2,3,4\n",
            "The file has no column sepal_width_cm, petal_length_cm, petal_width_cm. Its columns are sepal_length_cm",
        ),
        ("5.1;3.5\n", "The first line has 2 of 4 cells, and names no column"),
        (f'{FEATURES}\n1,2,3,4\n"1,2,3,4\n1,2,3,4\n', "A quote is opened in line 3 or after it"),
        ("1,5;2;3;4\n1,5;2;3.000;4\n", "The numbers 1,5 and 3.000 differ in their decimal mark"),
        ("PK\3\4\0\n", "This is not a text file."),
    ],
)
def test_csv_file_that_does_not_fit_is_explained(browser, url, tmp_path, text, status):
    browser.get(url)
    path = tmp_path / "flowers.csv"
    path.write_text(text)
    assert upload(browser, path).startswith(status)
    browser.get_log("browser")


@pytest.mark.parametrize(
    ("text", "encoding", "separator"),
    [
        (f"id;{FEATURES.replace(',', ';')}\r\n1;5,1;3,5;1,4;0,2\r\n", "utf-8", ";"),
        ("\t".join(["id", *FEATURES.split(",")]) + "\n1\t5.1\t3.5\t1.4\t0.2\n", "utf-8", "\t"),
        (f"\ufeffid,{FEATURES}\n1,5.1,3.5,1.4,0.2", "utf-8-sig", ","),
        (
            "id,Sepal Length_cm,SEPAL_WIDTH_CM, petal_length_cm,Petal_Width_cm \n1,5.1,3.5,1.4,0.2\n",
            "utf-8",
            ",",
        ),
        (f'"é\nid",{FEATURES}\n"Zoë ""Z""\nsecond",5.1,3.5,1.4,0.2\n', "cp1252", ","),
        ("\t".join(["id", *FEATURES.split(",")]) + "\nZoë\t5,1\t3,5\t1,4\t0,2\n", "utf-16", "\t"),
    ],
    ids=[
        "semicolons and decimal commas",
        "tabs",
        "byte order mark",
        "other case and blanks",
        "cp1252",
        "UTF-16, as Excel saves Unicode text",
    ],
)
def test_common_csv_variants_are_answered(page, tmp_path, text, encoding, separator):
    path = tmp_path / "flowers.csv"
    path.write_bytes(text.removeprefix("\ufeff").encode(encoding))
    assert upload(page, path) == "1 of 1 rows"
    (answer,) = downloaded(page, tmp_path, encoding, delimiter=separator)
    assert answer["species"] == "setosa"
    # The file's own content is preserved byte by byte.
    written = (tmp_path / "flowers-predictions.csv").read_bytes()
    for line in path.read_bytes().split(b"\r\n" if b"\r\n" in path.read_bytes() else b"\n"):
        assert line in written
    assert [row.text for row in page.find_elements(By.CSS_SELECTOR, "#histogram tr")] == [
        "setosa 1"
    ]


def test_rows_of_other_lengths_keep_their_columns_and_blank_ones_are_skipped(page, tmp_path):
    path = tmp_path / "flowers.csv"
    heading, good = FEATURES.replace(",", ";"), "5,1;3,5;1,4;0,2"
    path.write_text(f"\n;;;;\n{heading};id\n{good}\n{good};2;\n;;;;\n")
    assert upload(page, path) == "2 of 2 rows"
    answers = downloaded(page, tmp_path, delimiter=";")
    assert [(answer["id"], answer["species"]) for answer in answers] == [
        ("", "setosa"),
        ("2", "setosa"),
    ]


def test_rows_too_large_for_one_request_are_sent_in_smaller_parts(browser, project, tmp_path):
    path = tmp_path / "flowers.csv"
    path.write_text("5.1,3.5,1.4,0.2\n" * 250)
    with serving(project, MAX_BODY_BYTES="1024") as url:
        browser.get(url)
        assert upload(browser, path) == "250 of 250 rows"
    browser.get_log("browser")


def test_answers_before_a_failure_can_be_downloaded(page, tmp_path):
    path = tmp_path / "flowers.csv"
    path.write_text(f"{FEATURES}\n" + "5.1,3.5,1.4,0.2\n" * 250)
    page.execute_script("""
        const ask = window.fetch;
        let asked = 0;
        window.fetch = (...request) => asked++ ? Promise.reject(new TypeError("x")) : ask(...request);
    """)
    message = "ask whether it runs. The download has the answers of 100 rows before that."
    assert upload(page, path).endswith(message)
    species = [answer["species"] for answer in downloaded(page, tmp_path)]
    assert species == ["setosa"] * 100 + [""] * 150


def test_failed_rows_are_listed_and_the_others_kept(browser, url, tmp_path):
    browser.get(url)
    path = tmp_path / "flowers.csv"
    good, rows = "5.1,3.5,1.4,0.2", 250
    lines = [f"id,{FEATURES}", *(f'"{n}\n",{good}' for n in range(rows))]
    lines[7], lines[201] = "6,1,2,3,x", f"200,{good[:-3]}"
    path.write_text("\n".join(lines) + "\n")
    assert upload(browser, path) == f"{rows - 2} of {rows} rows; 2 failed, see below"
    failed = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#failed tbody tr")]
    # Line numbers of the file; most rows span two lines.
    assert failed[0].startswith("14 petal_width_cm: 'x' is not a finite number")
    assert failed[1].startswith("401 ")
    answers = downloaded(browser, tmp_path)
    assert len(answers) == rows
    assert [n for n, answer in enumerate(answers) if not answer["species"]] == [6, 200]
    browser.get_log("browser")


def test_file_in_which_everything_fails_is_abandoned(browser, url, tmp_path):
    browser.get(url)
    path = tmp_path / "flowers.csv"
    path.write_text(f"{FEATURES}\n" + "1,2,3,x\n" * 300)
    assert upload(browser, path) == "More than 100 rows fail: is this the right file?"
    browser.get_log("browser")


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_many_rows_stay_responsive_and_can_be_cancelled(page, tmp_path, is_cancelled):
    rows = 100_000
    lines = ["5.1,3.5,1.4,0.2", "6.7,3.0,5.2,2.3"]
    path = tmp_path / "flowers.csv"
    path.write_text("\n".join([FEATURES, *(lines[n % 2] for n in range(rows))]))
    element(page, "#file").send_keys(str(path))
    shown(page, "#cancel")
    # The page responds meanwhile.
    run(page)
    status = lambda: element(page, "#batch-status").text  # noqa: E731
    if is_cancelled:
        element(page, "#cancel").click()
        WebDriverWait(page, 20).until(lambda _: status() == "Cancelled.")
        assert not element(page, "#download").is_displayed()
        return
    WebDriverWait(page, 120).until(lambda _: element(page, "#download").is_displayed())
    assert status() == f"{rows} of {rows} rows"
    answers = [answer["species"] for answer in downloaded(page, tmp_path)]
    assert answers == ["setosa", "virginica"] * (rows // 2)


def test_example_is_filled_in_and_answered(browser, train):
    with serving(train()) as url:
        browser.get(url)
        buttons = browser.find_elements(By.CSS_SELECTOR, ".examples button")
        assert [button.text for button in buttons] == ["Adelie", "Chinstrap", "Gentoo"]
        for button in buttons:
            button.click()
            answer = lambda _, b=button: element(browser, ".answer output").text == b.text  # noqa: E731
            WebDriverWait(browser, 10).until(answer)
        share = element(browser, ".answer small").text
        assert re.fullmatch(r"\d+[.]\d %, then \w+ \d+[.]\d %", share)
        assert browser.get_log("browser") == []


def test_value_outside_the_training_data_is_reported_at_the_field_and_with_the_answer(page):
    fill(page, 5.1, 3.5, 1.4, 0.2)
    run(page)
    assert not element(page, "#outside").is_displayed()
    fill(page, 9999, 3.5, 1.4, 0.2)
    assert len(page.find_elements(By.CSS_SELECTOR, "small.outside")) == 1
    run(page)
    assert "Outside of the training data: sepal_length_cm." in shown(page, "#outside").text


def test_what_if_shows_how_the_answer_changes_and_applies_a_value(browser, train):
    with serving(train()) as url:
        browser.get(url)
        element(browser, "#whatif summary").click()
        run(browser)
        items = lambda: browser.find_elements(By.CSS_SELECTOR, "#whatif li")  # noqa: E731
        WebDriverWait(browser, 10).until(lambda _: len(items()) == 6)
        slider = next(i for i in items() if i.text.startswith("bill_length_mm"))
        points = slider.find_element(By.TAG_NAME, "polyline").get_attribute("points")
        assert len(points.split()) == 25
        slider.find_element(By.TAG_NAME, "input").send_keys(Keys.END)
        changed = lambda _: control(browser, "bill_length_mm").get_property("value") == "59.6"  # noqa: E731
        WebDriverWait(browser, 10).until(changed)
        WebDriverWait(browser, 10).until(
            lambda _: element(browser, ".answer output").text == "Chinstrap"
        )
        # They are now drawn for the new answer.
        island = lambda name: next(  # noqa: E731
            button
            for button in browser.find_elements(By.CSS_SELECTOR, "#whatif li button")
            if button.text.startswith(name)
        )
        WebDriverWait(browser, 10).until(lambda _: len(items()) == 6)
        island("Dream").click()
        chosen = lambda _: Select(control(browser, "island")).first_selected_option.text == "Dream"  # noqa: E731
        WebDriverWait(browser, 10).until(chosen)
        assert browser.get_log("browser") == []


def test_request_is_shown_in_other_languages(page, url):
    fill(page, 5.1, 3.5, 1.4, 0.2)
    run(page)
    choice = Select(element(page, "#language"))
    choice.select_by_visible_text("Python")
    script = element(page, "#curl").text
    answer = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert b"'predictions': ['setosa']" in answer.stdout
    choice.select_by_visible_text("JavaScript")
    script = element(page, "#curl").text
    command = ["node", "--input-type=module", "--eval", script]
    answer = subprocess.run(command, check=True, capture_output=True)
    assert b"setosa" in answer.stdout


@pytest.mark.parametrize("kind", ["numbers", "columns", "tensor"])
def test_request_of_tritonclient_is_answered(browser, url, passengers, train, tmp_path, kind):
    with contextlib.ExitStack() as stack:
        if kind == "tensor":
            project = copy_with_tensors(train, tmp_path, "digits")
            project.check(".venv/bin/python", "-m", "training")
            address = stack.enter_context(serving(project))
        else:
            address = url if kind == "numbers" else passengers
        browser.get(address)
        if kind == "columns":
            Select(control(browser, "port")).select_by_visible_text("missing")
        run(browser)
        Select(element(browser, "#language")).select_by_visible_text("tritonclient")
        WebDriverWait(browser, 10).until(lambda _: "triton" in element(browser, "#curl").text)
        script = element(browser, "#curl").text
        answer = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
        if kind == "columns":
            share = element(browser, "#probabilities meter").get_attribute("value")
            assert share in answer.stdout.decode()
        shown_answer = element(browser, ".answer output").text
        assert shown_answer in answer.stdout.decode().replace("True", "true").replace(
            "False", "false"
        )
        assert browser.get_log("browser") == []


def test_number_has_its_unit_and_its_rank_in_the_training_data(browser, train, tmp_path):
    with serving_model(train, tmp_path, "whole_numbers") as url:
        browser.get(url)
        shares = []
        for button in browser.find_elements(By.CSS_SELECTOR, ".examples button"):
            button.click()
            answered = lambda _: element(browser, "form").get_attribute("aria-busy") == "false"  # noqa: E731
            WebDriverWait(browser, 10).until(answered)
            place = shown(browser, ".answer small").text
            (share,) = re.findall(r"^higher than (\d+) % of the training data, 12 to 166$", place)
            shares.append(int(share))
        # The examples were chosen from the lowest label to the highest.
        assert shares[0] < 15 < 85 < shares[-1]
        assert len(browser.find_elements(By.CSS_SELECTOR, ".answer rect")) == 10
        assert element(browser, ".answer output").get_attribute("data-unit") == "bicycles"
        assert control(browser, "temperature").accessible_name.startswith("temperature °C")
        assert "Not for days with snow: there was none." in element(browser, "#card").text
        assert browser.get_log("browser") == []


def test_accent_is_a_setting(browser, train):
    with serving(train(), PAGE_ACCENT="#aa0011") as url:
        browser.get(url)
        button = element(browser, "#inputs > button")
        assert button.value_of_css_property("background-color") == "rgba(170, 0, 17, 1)"
        assert browser.get_log("browser") == []


def test_docs_send_an_example_as_edited(page, url):
    page.get(f"{url}/docs")
    headings = [each.text for each in page.find_elements(By.CSS_SELECTOR, "section > h2")]
    assert headings == ["Predictions", "Open Inference Protocol", "Operation"]
    # Schemas follow the first route that uses them.
    names = [each.get_attribute("id") for each in page.find_elements(By.CSS_SELECTOR, "[id]")]
    assert names[:2] == ["Request", "Instance"]
    assert len(set(names)) == len(names)
    for path, expected in (("/predict", '"virginica"'), ("/ping", "200 OK")):
        form = element(page, f'form[data-url="{path}"]')
        page.execute_script("arguments[0].closest('details').open = true", form)
        if path == "/predict":
            form.find_element(By.TAG_NAME, "textarea").clear()
            instance = json.dumps({"instances": [[6.7, 3.0, 5.2, 2.3]]})
            form.find_element(By.TAG_NAME, "textarea").send_keys(instance)
        form.find_element(By.TAG_NAME, "button").click()
        answer = form.find_element(By.TAG_NAME, "pre")
        WebDriverWait(page, 10).until(lambda _, a=answer: a.is_displayed())
        assert expected in answer.text


def test_link_carries_the_inputs_where_no_server_sees_them(page, url):
    fill(page, 6.7, 3.0, 5.2, 2.3)
    run(page)
    link = element(page, "#link").get_attribute("href")
    assert link.startswith(f"{url}/#inputs=")
    page.get("about:blank")
    page.get(link)
    values = page.find_elements(By.CSS_SELECTOR, "#inputs input")
    assert [value.get_property("value") for value in values] == ["6.7", "3", "5.2", "2.3"]
    # A link to the open page does not load it again.
    fill(page, 1, 1, 1, 1)
    page.get(link.replace("6.7", "6.6"))
    changed = lambda _: control(page, "sepal_length_cm").get_property("value") == "6.6"  # noqa: E731
    WebDriverWait(page, 10).until(changed)
    page.get(f"{url}/#inputs=%7B%22sepal_length_cm%22:%22long%22%7D")
    assert "do not fit: sepal_length_cm" in shown(page, "#problem").text
    page.get_log("browser")  # Chromium notes that it is no number
    page.get("about:blank")
    page.get(f"{url}/#inputs=%7Bcut")
    assert "The link's inputs cannot be read" in shown(page, "#problem").text


@contextlib.contextmanager
def answering(page, status, headers, body="", wait=0):
    """Answer the page's requests with this response, as a proxy in front of the service would."""
    script = f"""
        window.fetch = async () => {{
            await new Promise((done) => setTimeout(done, {wait}));
            return new Response({json.dumps(body)}, {{status: {status}, headers: {json.dumps(headers)}}});
        }};
    """
    page.execute_script(script)
    yield
    page.refresh()


HTML = {"Content-Type": "text/html"}


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (503, {**HTML, "Retry-After": "7"}, "too much to do, or is starting. Try again in 7 s."),
        (429, HTML, "The service has too much to do, or is starting. Try again in a moment."),
        (502, HTML, "Something between you and the service answered 502"),
        (413, HTML, "This is more than the service, or a proxy before it, takes at once."),
        (401, HTML, "Enter the API key first"),
    ],
)
def test_responses_of_other_servers_are_explained(page, status, headers, words):
    with answering(page, status, headers, "<html>"):
        element(page, "#inputs > button").click()
        assert words in shown(page, "#problem").text


def test_unreachable_and_slow_services_are_reported(page):
    page.execute_script("window.fetch = async () => { throw new TypeError('x'); }")
    element(page, "#inputs > button").click()
    assert "The service does not answer: check your network" in shown(page, "#problem").text
    page.refresh()
    answer = json.dumps({"predictions": ["setosa"]})
    with answering(page, 200, {"Content-Type": "application/json"}, answer, wait=1500):
        element(page, "#inputs > button").click()
        assert "being asked" in shown(page, "#busy").text
        assert shown(page, ".answer output").text == "setosa"
        assert not element(page, "#busy").is_displayed()


def test_slow_network_sends_no_form_prematurely_and_shows_the_code_of_an_answer_before_it(
    page, url
):
    block = lambda *urls: page.execute_cdp_cmd("Network.setBlockedURLs", {"urls": list(urls)})  # noqa: E731
    page.execute_cdp_cmd("Network.enable", {})
    page.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    try:
        block("*/page.js")
        page.get(url)
        element(page, "#inputs input").send_keys(Keys.ENTER)
        assert not element(page, "#inputs > button").is_enabled()
        assert page.current_url == f"{url}/"
        block("*/code.js", "*/whatif.js")
        page.get(url)
        element(page, "#whatif summary").click()
        run(page)
        assert element(page, "#curl").text == ""
        block()
        for name in ("code.js", "whatif.js"):
            page.execute_script(f"return import('/static/{name}?later')")
        WebDriverWait(page, 10).until(lambda _: "curl" in element(page, "#curl").text)
        WebDriverWait(page, 10).until(
            lambda _: page.find_elements(By.CSS_SELECTOR, "#whatif li polyline")
        )
    finally:
        block()
        page.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": False})
        page.get_log("browser")


AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}).then(
  ({violations}) => done(violations.map(({id, nodes}) => id + ": " + nodes.map((node) => node.html))));
"""


@contextlib.contextmanager
def emulating(browser, scheme="light", width=1280, height=1100):
    """Emulate a screen of this size in pixels, with a theme."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def check_with_axe(browser):
    """Expand everything that can be expanded; axe must find nothing, in both themes."""
    for details in browser.find_elements(By.TAG_NAME, "details"):
        browser.execute_script("arguments[0].open = true", details)
    browser.execute_script((ROOT / "tests/node_modules/axe-core/axe.min.js").read_text())
    for scheme in ("light", "dark"):
        with emulating(browser, scheme):
            assert browser.execute_async_script(AXE) == []


def test_axe_finds_nothing_in_the_docs(page, url):
    page.get(f"{url}/docs")
    check_with_axe(page)


# One of each kind that the page displays differently.
KINDS = {
    "default": "",
    "mixed table": "titanic",
    "regressor": "whole_numbers",
    "several outputs": "several_classes",
    "tensor": "tensors/digits",
    "thousand columns": "wide",
}


@contextlib.contextmanager
def serving_kind(train, folder, model):
    """Yield the address of a service with one of the models of tests/models, or with the project's own."""
    if model.startswith("tensors/"):
        project = copy_with_tensors(train, folder, Path(model).name)
        project.check(".venv/bin/python", "-m", "training")
        with serving(project) as url:
            yield url
    elif model:
        with serving_model(train, folder, model) as url:
            yield url
    else:
        with serving(train()) as url:
            yield url


@pytest.fixture(scope="module", params=KINDS)
def kind(request, train, tmp_path_factory):
    """A kind of model, and the address of its service."""
    with serving_kind(train, tmp_path_factory.mktemp("kind"), KINDS[request.param]) as url:
        yield request.param, url


def instance_of(page):
    """Return the form's values, as the command below the answer sends them."""
    (body,) = re.findall("-d '(.*)'", element(page, "#curl").text.replace("'\\''", "\0"))
    (instance,) = json.loads(body.replace("\0", "'"))["instances"]
    return instance


IS_IN_VIEW = """
const {top, bottom} = arguments[0].getBoundingClientRect();
return top >= 0 && bottom <= innerHeight;
"""


def test_each_feature_of_the_page_works_for_each_kind(browser, kind, tmp_path):
    name, url = kind
    browser.get_log("browser")
    browser.get(url)
    # Examples, and the answer in view.
    examples = browser.find_elements(By.CSS_SELECTOR, ".examples button")
    assert len(examples) >= 2 or name == "thousand columns"
    for width, height in ((1280, 800), (390, 844)):
        with emulating(browser, width=width, height=height):
            (examples or [element(browser, "#inputs > button")])[-1].click()
            answer = shown(browser, ".answer output")
            WebDriverWait(browser, 10).until(lambda _, a=answer: a.text)
            WebDriverWait(browser, 5).until(
                lambda _, a=answer: browser.execute_script(IS_IN_VIEW, a)
            )
    # The request as code.
    command = element(browser, "#curl").text
    replied = subprocess.run(["bash", "-c", command], check=True, capture_output=True).stdout
    (prediction,) = json.loads(replied)["predictions"]
    values = prediction.values() if isinstance(prediction, dict) else [prediction]
    for value, place in zip(
        values, browser.find_elements(By.CSS_SELECTOR, ".answer output"), strict=True
    ):
        if isinstance(value, float):
            assert float(place.text) == pytest.approx(value, rel=1e-6)
        else:
            assert place.text == json.dumps(value).strip('"')
    # A link to the request.
    instance = instance_of(browser)
    link = element(browser, "#link").get_attribute("href")
    browser.get("about:blank")
    browser.get(link)
    run(browser)
    assert instance_of(browser) == instance
    # What-if analysis; values outside the training data.
    number = browser.find_elements(By.CSS_SELECTOR, "#inputs [data-minimum]:not(fieldset)")
    if name == "tensor":
        assert not browser.find_elements(By.ID, "whatif")
    else:
        element(browser, "#whatif summary").click()
        WebDriverWait(browser, 20).until(
            lambda _: browser.find_elements(By.CSS_SELECTOR, "#whatif li")
        )
        number[0].clear()
        number[0].send_keys("1000000")
        run(browser)
        assert number[0].get_attribute("name") in shown(browser, "#outside").text
    # Many rows.
    path = tmp_path / "rows.csv"
    cells = list(flatten(list(instance.values())))
    names = list(instance) if name != "tensor" else [f"instances[{n}]" for n in range(64)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for _ in range(3):
            writer.writerow([json.dumps(cell).strip('"') for cell in cells])
    assert upload(browser, path) == "3 of 3 rows"
    assert all(row[names[0]] for row in downloaded(browser, tmp_path))
    assert browser.find_elements(By.CSS_SELECTOR, "#histogram tr")
    # The model card.
    assert re.search(r"Trained\n\S+ on [\d,]+ rows of ", element(browser, "#card").text)
    check_with_axe(browser)
    assert browser.get_log("browser") == []


def test_labels_use_the_terms_that_users_look_for(page):
    fill(page, 5.1, 3.5, 1.4, 0.2)
    run(page)
    headings = [each.text for each in page.find_elements(By.TAG_NAME, "h2")]
    assert {"Inputs", "Answer", "History", "Batch (CSV)", "The model"} == set(headings)
    assert element(page, "#inputs > button").text == "Predict"
    for table in page.find_elements(By.CSS_SELECTOR, "table:has(meter)"):
        assert table.find_element(By.TAG_NAME, "caption").text


TIMES = """
const [page] = performance.getEntriesByType("navigation");
const parts = performance.getEntriesByType("resource").concat(page);
const bytes = parts.reduce((sum, {transferSize}) => sum + transferSize, 0);
return [bytes, page.domContentLoadedEventEnd];
"""


def test_page_is_small_and_loads_quickly(kind, browser):
    """The form can be sent when DOMContentLoaded ends, which waits for its scripts; the others may load later."""
    name, url = kind

    def load(path):
        """Return the bytes, and the fewest milliseconds, over several visits."""
        found = []
        for _ in range(8):
            browser.get("about:blank")
            browser.execute_cdp_cmd("Network.clearBrowserCache", {})
            browser.get(f"{url}{path}")
            found.append(browser.execute_script(TIMES))
        return found[-1][0], min(milliseconds for _, milliseconds in found)

    transferred, milliseconds = load("/")
    assert 5_000 < transferred < (400_000 if name == "thousand columns" else 60_000)
    _, alone = load("/static/csv.js")
    browser.get_log("browser")  # a text file links no icon
    print(f"{name}: {transferred:,} bytes; {milliseconds:.0f} ms, a file of text {alone:.0f} ms")


def test_api_key_is_requested_and_sent(browser, project):
    with serving(project, API_KEY="first, second") as url:
        browser.get(url)
        element(browser, "#inputs > button").click()
        assert "API key" in shown(browser, "#problem").text
        element(browser, "#key").send_keys("second")
        run(browser)
        assert shown(browser, ".answer output").text
    browser.get_log("browser")


def test_new_project_predicts_its_example_also_with_a_missing_value(browser, train):
    with serving(train()) as url:
        browser.get(url)
        run(browser)
        assert shown(browser, ".answer output").text == "Adelie"
        Select(control(browser, "island")).select_by_visible_text("Dream")
        Select(control(browser, "sex")).select_by_visible_text("missing")
        fill(browser, 50, 18, "", "")
        run(browser)
        assert shown(browser, ".answer output").text == "Chinstrap"
        assert browser.get_log("browser") == []


@contextlib.contextmanager
def serving_model(train, folder, name):
    """Yield the address of a service with one of the models of tests/models, while it runs."""
    project = copy_with(train(), folder, (MODELS / f"{name}.py").read_text())
    project.check(".venv/bin/python", "-m", "training")
    with serving(project) as url:
        yield url


@pytest.fixture(scope="module")
def passengers(train, tmp_path_factory):
    """The address of a service whose model takes text, numbers, gaps and booleans."""
    with serving_model(train, tmp_path_factory.mktemp("passengers"), "titanic") as url:
        yield url


def test_field_of_each_type_is_filled_and_may_be_left_empty(browser, passengers):
    browser.get(passengers)
    examples = browser.find_elements(By.CSS_SELECTOR, ".examples button")
    assert [example.text for example in examples] == ["false", "true"]
    assert "survived (false, true)" in element(browser, "#card").text
    choices = Select(control(browser, "sex"))
    assert [option.text for option in choices.options] == ["female", "male"]
    choices.select_by_visible_text("male")
    port = Select(control(browser, "port"))
    # With its blank, as in the data.
    assert [option.get_property("value") for option in port.options] == ["", " S", "C", "Q"]
    port.select_by_visible_text("missing")
    control(browser, "age").clear()
    if not control(browser, "alone").is_selected():
        control(browser, "alone").click()
    assert control(browser, "class").get_attribute("step") == "1"
    run(browser)
    assert shown(browser, ".answer output").text in ("true", "false")
    names = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "#probabilities th")]
    assert names == ["false", "true"]
    (body,) = re.findall("-d '(.*)'", element(browser, "#curl").text.replace("'\\''", "\0"))
    (instance,) = json.loads(body.replace("\0", "'"))["instances"]
    assert (instance["sex"], instance["alone"]) == ("male", True)
    assert {"age", "port"}.isdisjoint(instance)
    # A column that must have a value is requested before anything is sent.
    control(browser, "fare").clear()
    element(browser, "#inputs > button").click()
    assert control(browser, "fare").get_property("validity")["valueMissing"]
    assert browser.get_log("browser") == []


def test_csv_file_with_quoted_text_and_gaps_is_answered(browser, passengers, tmp_path):
    browser.get(passengers)
    path = tmp_path / "passengers.csv"
    lines = ["name,sex,port,title,age,fare,class,alone"]
    lines += ['"Braund, Mr. Owen",male,S,"Dr, med.",22,7.25,3,true']
    lines += ['"Allen, Miss ""E""",female,,"the ""Hon.""",,8.05,1,false']
    path.write_text("\n".join(lines))
    assert upload(browser, path) == "2 of 2 rows"
    first, second = downloaded(browser, tmp_path)
    assert (first["name"], second["name"]) == ("Braund, Mr. Owen", 'Allen, Miss "E"')
    assert {first["survived"], second["survived"]} <= {"true", "false"}


def test_csv_file_with_difficult_column_names_is_answered(browser, train, tmp_path):
    names = ["Länge, in cm", 'say "when"', "[0]", "back\\slash", " blank "]
    values = [["1.5", "-0.5", "été", "0.25", "2"], ["-1.5", "0.5", "a,b", "0", "-2"]]
    path = tmp_path / "difficult.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *values])
    with serving_model(train, tmp_path, "unicode_labels") as url:
        browser.get(url)
        assert upload(browser, path) == "2 of 2 rows"
        answers = downloaded(browser, tmp_path)
    assert [[row[name] for name in names] for row in answers] == values
    assert [row["Größe"] for row in answers] == ["größer, ja", "日本語 'no'"]


def paste(page, name, text):
    """Paste text into a field."""
    script = """
        const clipboardData = new DataTransfer();
        clipboardData.setData("text", arguments[1]);
        const event = { clipboardData, bubbles: true, cancelable: true };
        arguments[0].dispatchEvent(new ClipboardEvent("paste", event));
    """
    page.execute_script(script, control(page, name), text)


def test_one_of_many_columns_is_found_and_a_row_is_pasted(browser, train, tmp_path):
    with serving_model(train, tmp_path, "wide") as url:
        browser.get(url)
        assert not control(browser, "column_999").is_displayed()
        element(browser, "#search").send_keys("N_99")
        assert control(browser, "column_999").is_displayed()
        assert not control(browser, "column_0").is_displayed()
        paste(browser, "column_998", "0.25\t-3")
        assert control(browser, "column_998").get_property("value") == "0.25"
        assert control(browser, "column_999").get_property("value") == "-3"
        # A field that the browser rejects must be visible, even if the search hides it.
        browser.execute_script("arguments[0].value = ''", control(browser, "column_500"))
        element(browser, "#inputs > button").click()
        assert control(browser, "column_500").is_displayed()
        names = ",".join(f"column_{place}" for place in reversed(range(1000)))
        paste(browser, "column_998", f"{names}\n{','.join(['7'] * 999)},8\n")
        assert control(browser, "column_0").get_property("value") == "8"
        run(browser)
        assert float(shown(browser, ".answer output").text)
        assert browser.get_log("browser") == []


def test_row_that_does_not_fit_is_named(browser, passengers):
    browser.get(passengers)
    paste(browser, "sex", "male\tX\tMme")
    assert shown(browser, "#problem").text == "These do not fit their columns: port: X"
    assert control(browser, "title").get_property("value") == "Mme"


def values(page):
    return [
        each.get_property("value")
        for each in page.find_elements(By.CSS_SELECTOR, "#inputs [data-type]")
    ]


@pytest.mark.parametrize(
    ("text", "expected", "message"),
    [
        ("5,1\t3,5\t1,4\t0,2\r\n", ["5.1", "3.5", "1.4", "0.2"], ""),
        ('"5.1","3.5",1.4,0.2', ["5.1", "3.5", "1.4", "0.2"], ""),
        ("Sepal width cm\tPETAL_WIDTH_CM\n3,5\t0,2\n", [None, "3.5", None, "0.2"], ""),
        ("5\t4\t2\t1\n6\t3\t2\t1\n", ["5", "4", "2", "1"], "Only the first of 2 rows was taken."),
        (
            "5\t4\t2\t4,050\n",
            ["5", "4", "2", ""],
            "do not fit their columns: petal_width_cm: 4,050",
        ),
        ("5,1", ["5.1", None, None, None], ""),
    ],
)
def test_row_is_pasted_as_spreadsheets_write_it(page, text, expected, message):
    before = values(page)
    paste(page, "sepal_length_cm", text)
    assert values(page) == [
        new or old if new != "" else "" for new, old in zip(expected, before, strict=True)
    ]
    assert message in element(page, "#problem").text
    assert bool(message) == element(page, "#problem").is_displayed()
    if "do not fit" in message:
        page.get_log("browser")  # Chromium notes the value that is no number


def test_pasted_value_outside_the_training_data_is_reported_and_a_typed_comma_is_not_dropped_silently(
    page,
):
    paste(page, "sepal_length_cm", "9999\t3.5\t1.4\t0.2")
    assert len(page.find_elements(By.CSS_SELECTOR, "small.outside")) == 1
    field = control(page, "sepal_length_cm")
    field.clear()
    field.send_keys("44,4")
    assert "The comma was left out" in shown(page, "#problem").text


def test_pasted_text_with_commas_stays_in_its_field(browser, train, tmp_path):
    with serving_model(train, tmp_path, "text") as url:
        browser.get(url)
        before = values(browser)
        # The browser itself inserts what the page does not take; a script's event inserts nothing.
        paste(browser, "text", "goal, ball")
        assert values(browser) == before
        paste(browser, "text", '"goal, ""ball"""\t30')
        assert values(browser) == ['goal, "ball"', "30"]
        assert browser.get_log("browser") == []


def test_each_of_several_outputs_is_shown(browser, train, tmp_path):
    with serving_model(train, tmp_path, "several_classes") as url:
        browser.get(url)
        run(browser)
        answers = [each.text.split()[:2] for each in browser.find_elements(By.CLASS_NAME, "answer")]
        assert [name for name, _ in answers] == ["colour", "size"]
        assert len(browser.find_elements(By.CSS_SELECTOR, "#probabilities meter")) == 5
        assert browser.get_log("browser") == []


# A picture of 2 by 2 pixels, the left ones white and the others black.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR4nGP4z8DwnwEABv8B/wcrjvYAAAAASUVORK5CYII="


def test_tensor_is_read_from_a_file(browser, train, tmp_path):
    project = copy_with_tensors(train, tmp_path, "digits")
    project.check(".venv/bin/python", "-m", "training")
    zeros = [[0.0] * 8] * 8
    files = {
        "zeros.json": json.dumps(zeros).encode(),
        "ones.csv": "\n".join([",".join("1" * 8)] * 8).encode(),
        "few.csv": b"1,2",
        "words.csv": b"1,two",
        "halves.png": base64.b64decode(PICTURE),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with serving(project) as url:
        browser.get(url)
        assert element(browser, "canvas").is_displayed()
        before = control(browser, "instances").get_property("value")

        def choose(name):
            control(browser, "instances").clear()
            element(browser, "#inputs input[type=file]").send_keys(str(tmp_path / name))
            field = control(browser, "instances")
            is_done = lambda _: field.get_property("value") or element(browser, "#problem").text  # noqa: E731
            WebDriverWait(browser, 10).until(is_done)
            return json.loads(field.get_property("value") or "null")

        assert json.loads(before) != zeros
        control(browser, "instances").send_keys("[[")
        element(browser, "#inputs > button").click()
        assert shown(browser, "#problem").text.startswith("instances is not JSON: ")
        assert choose("zeros.json") == zeros
        assert choose("few.csv") is None
        assert "2 values do not fill the shape 8 × 8" in element(browser, "#problem").text
        assert choose("words.csv") is None
        assert "'two' is not of type FP32" in element(browser, "#problem").text
        assert choose("ones.csv") == [[1] * 8] * 8
        rows = choose("halves.png")
        assert all(row[0] > 0.9 and row[7] < 0.1 for row in rows)
        assert not element(browser, "#problem").is_displayed()
        run(browser)
        assert shown(browser, ".answer output").text in "0123456789"
        assert browser.get_log("browser") == []


def png(width, height, colour):
    """Return a picture of a single colour."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + bytes(colour) * width) * height
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def flatten(value):
    """Yield the numbers of nested lists."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from flatten(item)
    else:
        yield value


@pytest.mark.parametrize("order", ["channels last", "channels first"])
def test_colour_picture_is_read_from_a_file(browser, train, tmp_path, order):
    project = copy_with_tensors(train, tmp_path, "colours")
    is_first = order == "channels first"
    training = project.path / "training" / "train.py"
    first = f"CHANNELS_FIRST = {is_first}"
    training.write_text(training.read_text().replace("CHANNELS_FIRST = False", first))
    project.check(".venv/bin/python", "-m", "training")
    with serving(project) as url:
        browser.get(url)
        assert element(browser, "canvas").is_displayed()
        for channel, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
            (tmp_path / f"{channel}.png").write_bytes(png(12, 8, colour))
            control(browser, "instances").clear()
            element(browser, "#inputs input[type=file]").send_keys(str(tmp_path / f"{channel}.png"))
            field = control(browser, "instances")
            WebDriverWait(browser, 10).until(lambda _, f=field: f.get_property("value"))
            rows = json.loads(field.get_property("value"))
            # Every value in a channel is the same: the maximum or the minimum.
            channels = (
                rows if is_first else zip(*(pixel for row in rows for pixel in row), strict=True)
            )
            values = [{round(value, 1) for value in flatten(one)} for one in channels]
            assert values == [{1.0 * (place == channel)} for place in range(3)]
            assert len(list(flatten(rows))) == 4 * 6 * 3
            run(browser)
            assert shown(browser, ".answer output").text == str(channel)
        assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_page_fits_narrow_and_wide_screens(page, scheme, width):
    with emulating(page, scheme, width, 1400):
        fill(page, 5.1, 3.5, 1.4, 0.2)
        run(page)
        assert page.execute_script(OVERFLOW) == 0
        page.execute_script(LENGTHEN)
        assert page.execute_script(OVERFLOW) == 0


OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Names that break nowhere, in each place that shows one.
LENGTHEN = """
for (const node of document.querySelectorAll("label > span, h2, th[scope=row], dt, dd, .answer, output, caption, small, p")) {
  node.prepend("x".repeat(90));
}
"""


@pytest.mark.parametrize("path", ["docs", "monitor"])
def test_other_pages_fit_a_narrow_screen(page, url, path):
    with emulating(page, width=320):
        page.get(f"{url}/{path}")
        WebDriverWait(page, 10).until(lambda _: page.find_elements(By.TAG_NAME, "details"))
        page.execute_script(
            "document.querySelectorAll('details').forEach((one) => one.open = true)"
        )
        assert page.execute_script(OVERFLOW) == 0
        page.execute_script(LENGTHEN)
        assert page.execute_script(OVERFLOW) == 0


IS_COVERED = """
const {left, top, height} = document.activeElement.getBoundingClientRect();
return !document.activeElement.contains(document.elementFromPoint(left + 5, top + height / 2));
"""


def test_focused_field_is_not_covered_by_the_button(page):
    with emulating(page, width=320, height=400):
        for name in FEATURES.split(","):
            control(page, name).send_keys(Keys.SHIFT)
            page.execute_script("scrollTo(0, 0); document.activeElement.blur()")
        element(page, "#inputs input").send_keys(Keys.SHIFT)
        for _ in FEATURES.split(",")[1:]:
            ActionChains(page).send_keys(Keys.TAB).perform()
            assert not page.execute_script(IS_COVERED)


def test_screen_reader_hears_the_answer_and_not_the_code(page):
    fill(page, 5.1, 3.5, 1.4, 0.2)
    run(page)
    live = "return arguments[0].closest('[aria-live]').getAttribute('aria-live')"
    for selector, expected in (
        (".answer", "polite"),
        ("#outside", "polite"),
        ("#curl", "off"),
        ("#probabilities", "off"),
    ):
        assert page.execute_script(live, element(page, selector)) == expected
    # A region that is hidden until its first answer would not be announced.
    assert page.execute_script(
        "return !document.querySelector('[aria-live=polite]').closest('[hidden]')"
    )


def test_without_javascript_the_pages_say_so(page, url):
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        for path in ("", "docs", "monitor"):
            page.get(f"{url}/{path}")
            assert "needs JavaScript" in element(page, "main").text
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_code_is_copied_also_over_plain_http(page):
    fill(page, 5.1, 3.5, 1.4, 0.2)
    run(page)
    page.execute_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    element(page, "#copy").click()
    page.execute_script(
        "const text = document.createElement('textarea'); text.id = 'pasted'; document.body.append(text)"
    )
    element(page, "#pasted").send_keys(Keys.CONTROL, "v")
    assert element(page, "#pasted").get_property("value") == element(page, "#curl").text


# The pictures in docs/page.md: a model, the window's width in pixels, and the theme.
PICTURES = {
    "default": ("", 1280, "light"),
    "default-phone": ("", 390, "dark"),
    "mixed-table": ("titanic", 1280, "dark"),
    "number": ("whole_numbers", 1280, "light"),
    "three-numbers": ("three_targets", 768, "light"),
    "several-outputs": ("several_classes", 1280, "light"),
    "tensor": ("tensors/digits", 1280, "light"),
    "thousand-columns": ("wide", 1920, "light"),
}


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="make screenshots takes them")
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_for_the_docs(browser, train, tmp_path, name):
    model, width, scheme = PICTURES[name]
    with serving_kind(train, tmp_path, model) as url, emulating(browser, scheme, width):
        browser.get(url)
        run(browser)
        for details in browser.find_elements(By.ID, "whatif"):
            details.find_element(By.TAG_NAME, "summary").click()
            WebDriverWait(browser, 20).until(
                lambda _: browser.find_elements(By.CSS_SELECTOR, "#whatif li")
            )
        browser.execute_script("scrollTo(0, 0); document.activeElement.blur()")
        browser.save_screenshot(str(Path(os.environ["SCREENSHOTS"]) / f"{name}.png"))


def test_docs_show_every_route_offline(page, url):
    page.get(f"{url}/docs")
    assert len(page.find_elements(By.TAG_NAME, "details")) > 10
    assert "POST /predict" in element(page, "main").text
    # The indentation of a docstring.
    assert r"\n " not in page.page_source
