// Sends the form's values to the service, shows the answer, and keeps the history of this visit.
import { controls, form, instanceOf, isOutside, meterRow, readable, say, svg } from "./form.js";
import { send } from "./request.js";

const KEPT = 50;
// Limit for columns in the history.
const MOST_COLUMNS = 12;
// Limit for characters of a text in the history.
const LONGEST = 40;
// Shorter waits show no message.
const BUSY_AFTER = 150;

const result = document.getElementById("result");
const problem = document.getElementById("problem");
const hint = document.getElementById("hint");
const busy = document.getElementById("busy");
const outside = document.getElementById("outside");

// The predicted values of one instance, for each output if there are several.
function valuesOf(prediction) {
  return typeof prediction === "object" ? Object.values(prediction) : [prediction];
}

// The probabilities of the classes, by output and class if there are several outputs.
function classesOf(probabilities) {
  return Object.entries(probabilities ?? {}).flatMap(([name, value]) =>
    typeof value === "object" ? Object.entries(value).map(([key, part]) => [`${name}: ${key}`, part]) : [[name, value]],
  );
}

// More digits of a model's number would not be meaningful.
function digits(value) {
  return typeof value === "number" ? Number(value.toPrecision(7)) : value;
}

function percent(probability) {
  return `${(probability * 100).toFixed(1)} %`;
}

// How sure the model is, and the next most probable class.
function shareOf(probabilities) {
  const [first, second] = Object.entries(probabilities).sort(([, one], [, other]) => other - one);
  return `${percent(first[1])}${second ? `, then ${second[0]} ${percent(second[1])}` : ""}`;
}

// Describe where a number lies among the training data.
function placeOf(edges, counts, value) {
  const [least, greatest] = [edges[0], edges.at(-1)];
  const data = `the training data, ${readable(least)} to ${readable(greatest)}`;
  if (value < least || value > greatest) {
    return `outside of ${data}`;
  }
  let below = 0;
  for (const [place, count] of counts.entries()) {
    const width = edges[place + 1] - edges[place];
    below += count * Math.min(1, Math.max(0, (value - edges[place]) / width));
  }
  const share = (100 * below) / counts.reduce((sum, count) => sum + count, 0);
  return `higher than ${Math.round(share)} % of ${data}`;
}

// The distribution of the training data, with bins drawn by density, and the answer in it.
function drawPlace(picture, edges, counts, value) {
  const scale = (number) => (300 * (number - edges[0])) / (edges.at(-1) - edges[0]);
  const densities = counts.map((count, place) => count / (edges[place + 1] - edges[place]));
  const highest = Math.max(...densities);
  const bars = densities.map((density, place) => {
    const [x, height] = [scale(edges[place]), (58 * density) / highest];
    return svg("rect", { x, y: 60 - height, width: Math.max(1, scale(edges[place + 1]) - x - 1), height });
  });
  const x = Math.min(300, Math.max(0, scale(value)));
  picture.replaceChildren(...bars, svg("line", { x1: x, x2: x, y1: 0, y2: 60 }));
}

// The text for one output's answer.
function describe(answer, value, probabilities) {
  if (probabilities) {
    return shareOf(probabilities);
  }
  const { edges, counts } = answer.dataset;
  if (!edges) {
    return "";
  }
  const distribution = [JSON.parse(edges), JSON.parse(counts)];
  drawPlace(answer.querySelector("svg"), ...distribution, value);
  return placeOf(...distribution, value);
}

function show({ predictions, probabilities }) {
  const answers = valuesOf(predictions[0]);
  for (const [place, answer] of [...result.querySelectorAll(".answer")].entries()) {
    const output = answer.querySelector("output");
    output.value = digits(answers[place]);
    const own = answers.length === 1 ? probabilities?.[0] : probabilities?.[0]?.[answer.dataset.name];
    answer.querySelector("small").textContent = describe(answer, answers[place], own);
  }
  const table = document.getElementById("probabilities");
  const classes = classesOf(probabilities?.[0]);
  table.hidden = classes.length === 0;
  table.tBodies[0].replaceChildren(...classes.map(([name, value]) => meterRow(name, { value }, percent(value))));
  const strange = controls.filter(isOutside).map(({ name }) => name);
  outside.hidden = strange.length === 0;
  outside.textContent = `Outside of the training data: ${strange.slice(0, MOST_COLUMNS).join(", ")}. The model has seen nothing like it.`;
}

// The text for a control in the history.
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
  section.hidden = false;
}

// On narrow screens the answer is below the form and may be out of view.
const reveal = (part) => part.scrollIntoView({ block: "nearest" });

// The page's Content-Security-Policy forbids inline styles in the HTML.
const accent = document.querySelector("meta[name=theme-color]");
if (accent) {
  document.documentElement.style.setProperty("--accent", accent.content);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  say("");
  form.ariaBusy = true;
  const wait = setTimeout(() => {
    busy.hidden = false;
    result.hidden = hint.hidden = true;
  }, BUSY_AFTER);
  try {
    const instance = instanceOf();
    const body = JSON.stringify({ instances: [instance] });
    const { text, milliseconds } = await send(form.dataset.url, "application/json", body, "application/json");
    const answer = JSON.parse(text);
    show(answer);
    document.getElementById("latency").textContent = milliseconds.toFixed(1);
    remember(valuesOf(answer.predictions[0]).map(digits), milliseconds, controls.map(shown));
    result.hidden = false;
    hint.hidden = true;
    reveal(result.querySelector(".answer"));
    document.dispatchEvent(new CustomEvent("answered", { detail: { instance, answer } }));
  } catch (error) {
    say(error.message);
    result.hidden = true;
    reveal(problem);
  } finally {
    clearTimeout(wait);
    busy.hidden = true;
    form.ariaBusy = false;
  }
});

// Enabled only now: earlier, the browser itself would submit the form, with the inputs in the URL.
form.querySelector("button:not([type])").disabled = false;
