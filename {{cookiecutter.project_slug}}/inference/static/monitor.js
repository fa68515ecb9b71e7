// The page /monitor: the training and recent distributions of each input and output side by side, the worst first.
import { ask, problemOf } from "./request.js";

const SECONDS = 15;
const WIDTH = 480;
const HEIGHT = 110;
const state = document.getElementById("state");
const found = document.getElementById("found");

function make(name, text, attributes = {}) {
  const element = document.createElement(name);
  element.textContent = text;
  return Object.assign(element, attributes);
}

function draw(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  return element;
}

const percent = (share) => `${(100 * share).toFixed(share && share < 0.1 ? 1 : 0)} %`;

// Two bars for each bin; the numbers are in the tooltip of both and in the table below.
function chart({ name, labels, training, recent }) {
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  svg.append(draw("title", {}));
  svg.firstChild.textContent = `Shares of ${name}, training and recent`;
  const most = Math.max(...training, ...recent, 0.01);
  const width = WIDTH / labels.length;
  const gap = Math.min(width * 0.15, 4);
  labels.forEach((label, place) => {
    const group = draw("g", {});
    const title = draw("title", {});
    title.textContent = `${label}: training ${percent(training[place])}, recent ${percent(recent[place])}`;
    group.append(title);
    [training, recent].forEach((shares, side) => {
      const height = (shares[place] / most) * HEIGHT;
      group.append(
        draw("rect", {
          class: side ? "recent" : "training",
          x: place * width + gap + side * (width / 2 - gap),
          y: HEIGHT - height,
          width: Math.max(width / 2 - gap, 0.5),
          height,
        }),
      );
    });
    svg.append(group);
  });
  return svg;
}

function table({ labels, training, recent, measured }) {
  const element = make("table", "");
  const head = element.createTHead().insertRow();
  for (const text of [measured || "value", "training", "recent"]) {
    head.append(make("th", text, { scope: "col" }));
  }
  const body = element.createTBody();
  labels.forEach((label, place) => {
    const row = body.insertRow();
    row.append(make("th", label, { scope: "row" }));
    row.insertCell().textContent = percent(training[place]);
    row.insertCell().textContent = percent(recent[place]);
  });
  const details = make("details", "");
  details.append(make("summary", "Numbers"), element);
  return details;
}

const VERDICTS = {
  drifted: "has drifted",
  steady: "as in training",
  "few rows": "too few rows for a verdict",
  unknown: "the model file does not say what training saw",
};

function describe(one) {
  const section = make("section", "", { className: "monitored" });
  section.dataset.name = one.name;
  section.dataset.verdict = one.verdict;
  const heading = make("h2", one.role === "output" ? `${one.name} (predicted)` : one.name);
  const parts = [VERDICTS[one.verdict]];
  if (one.psi !== null) {
    parts.push(`PSI ${one.psi.toFixed(3)}`);
  }
  if (one.missing_share) {
    parts.push(`${percent(one.missing_share)} missing`);
  }
  if (one.outside_share) {
    parts.push(`${percent(one.outside_share)} outside of training`);
  }
  const about = make("p", parts.join(" · "), { className: one.verdict === "drifted" ? "warn" : "" });
  const ends = make("p", "", { className: "ends" });
  ends.append(make("small", one.labels[0]), make("small", one.labels.at(-1)));
  section.append(heading, about, chart(one), ends, table(one));
  return section;
}

function duration(seconds) {
  return seconds % 3600 ? (seconds % 60 ? `${seconds} s` : `${seconds / 60} min`) : `${seconds / 3600} h`;
}

function show(monitored) {
  const rows = Math.max(0, ...monitored.found.map((one) => one.rows));
  const verdict = monitored.drifted ? `${monitored.drifted} of ${monitored.total} drifted` : "Nothing has drifted";
  const shown = monitored.found.length < monitored.total ? ` The worst ${monitored.found.length} are shown.` : "";
  const enough = rows < monitored.least_rows ? ` A verdict needs ${monitored.least_rows} rows.` : "";
  const within = `${rows.toLocaleString("en")} rows in the last ${duration(monitored.window_seconds)}`;
  state.textContent = monitored.is_on
    ? `${verdict}: ${within}, PSI above ${monitored.threshold} counts.${enough}${shown}`
    : "Nothing is counted: STATISTICS is off.";
  document.getElementById("legend").hidden = false;
  const open = new Set(Array.from(found.querySelectorAll("details[open]"), (one) => one.parentNode.dataset.name));
  found.replaceChildren(...monitored.found.map(describe));
  for (const section of found.children) {
    section.querySelector("details").open = open.has(section.dataset.name);
  }
}

async function refresh() {
  try {
    const { response, text } = await ask(state.dataset.url, {});
    if (!response.ok) {
      throw new Error(problemOf(response, text));
    }
    show(JSON.parse(text));
  } catch (error) {
    state.textContent = error.message;
  }
}

document.getElementById("key")?.addEventListener("change", refresh);
setInterval(() => document.hidden || refresh(), 1000 * SECONDS);
refresh();
