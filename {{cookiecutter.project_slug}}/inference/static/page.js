// Sends the form's values to the service, shows what it answers, and keeps this visit's history.
import { send } from "./request.js";

const KEPT = 50;
// Columns in the history.
const MOST_COLUMNS = 12;
// Characters of a text in the history.
const LONGEST = 40;

const form = document.getElementById("inputs");
const result = document.getElementById("result");
const problem = document.getElementById("problem");
const curl = document.getElementById("curl");
const times = [];

// The values of one instance: of several outputs each.
function valuesOf(prediction) {
  return typeof prediction === "object" ? Object.values(prediction) : [prediction];
}

// The probabilities of the classes, those of several outputs by output and class.
function classesOf(probabilities) {
  return Object.entries(probabilities ?? {}).flatMap(([name, value]) =>
    typeof value === "object" ? Object.entries(value).map(([key, part]) => [`${name}: ${key}`, part]) : [[name, value]],
  );
}

// What a control of the form says; undefined where a value is missing.
function valueOf(control) {
  if (control.type === "checkbox") {
    return control.checked;
  }
  if (control.value === "") {
    return undefined;
  }
  if (control.dataset.type === "tensor") {
    return JSON.parse(control.value);
  }
  return control.dataset.type === "number" ? Number(control.value) : control.value;
}

function show({ predictions, probabilities }, milliseconds, body) {
  const values = valuesOf(predictions[0]);
  for (const [place, output] of result.querySelectorAll(".answer output").entries()) {
    output.value = values[place];
  }
  document.getElementById("latency").textContent = milliseconds.toFixed(1);
  const table = document.getElementById("probabilities");
  const classes = classesOf(probabilities?.[0]);
  table.hidden = classes.length === 0;
  table.tBodies[0].replaceChildren(...classes.map(probabilityRow));
  const quoted = body.replaceAll("'", "'\\''");
  curl.textContent = `curl ${new URL(form.dataset.url, location)} -H 'Content-Type: application/json' -d '${quoted}'`;
  if (document.getElementById("key")) {
    curl.textContent += ` -H "X-API-Key: $API_KEY"`;
  }
  result.hidden = false;
}

function probabilityRow([name, probability]) {
  const row = document.createElement("tr");
  const heading = document.createElement("th");
  heading.scope = "row";
  heading.textContent = name;
  const meter = document.createElement("meter");
  meter.value = probability;
  meter.ariaLabel = name;
  row.append(heading);
  row.insertCell().append(meter);
  row.insertCell().append(`${(probability * 100).toFixed(1)} %`);
  return row;
}

// What the history shows of a control.
function shown(control) {
  return control.type === "checkbox" ? control.checked : control.value.slice(0, LONGEST);
}

function remember(answers, milliseconds, values) {
  const section = document.getElementById("history");
  const row = section.querySelector("tbody").insertRow(0);
  for (const value of [...answers, milliseconds.toFixed(1), ...values.slice(0, MOST_COLUMNS)]) {
    row.insertCell().append(value);
  }
  section.querySelector("tbody").rows[KEPT]?.remove();
  times.push(milliseconds);
  draw(times.slice(-KEPT));
  section.hidden = false;
}

function draw(values) {
  const highest = Math.max(...values);
  const width = 300 / KEPT;
  const bars = values.map((value, index) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = Math.max(1, (58 * value) / highest);
    const place = { x: index * width, y: 60 - height, width: width - 1, height };
    for (const [name, number] of Object.entries(place)) {
      bar.setAttribute(name, number);
    }
    return bar;
  });
  document.getElementById("chart").replaceChildren(...bars);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  result.hidden = problem.hidden = true;
  form.ariaBusy = true;
  const controls = [...form.querySelectorAll("[data-type]")];
  try {
    const values = controls.map((control) => [control.name, valueOf(control)]);
    const body = JSON.stringify({ instances: [Object.fromEntries(values)] });
    const { text, milliseconds } = await send(form.dataset.url, "application/json", body, "application/json");
    const answer = JSON.parse(text);
    show(answer, milliseconds, body);
    remember(valuesOf(answer.predictions[0]), milliseconds, controls.map(shown));
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  } finally {
    form.ariaBusy = false;
  }
});

document.getElementById("copy").addEventListener("click", async () => {
  getSelection().selectAllChildren(curl);
  // Only pages of this machine or by HTTPS may write to the clipboard; elsewhere the line is selected.
  await navigator.clipboard?.writeText(curl.textContent);
});
