// Shows how the answer would change if one input had other values.
import { controls, form, last, onAnswer, put, readable, svg } from "./form.js";
import { send } from "./request.js";

const POINTS = 25;
// Limits for the inputs to try, and to show.
const MOST_TRIED = 30;
const MOST_SHOWN = 12;
const WIDTH = 200;
const HEIGHT = 48;

const section = document.getElementById("whatif");
const list = section.querySelector("ul");
const mostRows = Number(section.dataset.rows);
let asked = 0;

// The values to try for an input.
function valuesOf({ dataset, type, options }) {
  if (type === "checkbox") {
    return [false, true];
  }
  if (options) {
    return [...options].map(({ value }) => value).filter((value) => value !== "");
  }
  const { minimum, maximum } = dataset;
  if (minimum === undefined || minimum === maximum) {
    return [];
  }
  const step = (maximum - minimum) / (POINTS - 1);
  const points = Array.from({ length: POINTS }, (_, place) => Number(minimum) + place * step);
  return dataset.whole === undefined ? points : [...new Set(points.map(Math.round))];
}

// The number to draw for an answer: its value, or the probability of the currently predicted class.
function scores({ predictions, probabilities }, now) {
  const first = (value) => (value !== null && typeof value === "object" ? Object.values(value)[0] : value);
  const current = first(now.predictions[0]);
  return predictions.map((prediction, place) => {
    const value = first(prediction);
    if (typeof value === "number" && !probabilities) {
      return value;
    }
    const shares = probabilities?.[place];
    const own = shares && typeof first(shares) === "object" ? first(shares) : shares;
    return own ? own[String(current)] : Number(value === current);
  });
}

// Copy a value into the form, and submit it.
function take(control, value) {
  put(control, value);
  form.requestSubmit();
}

function curve(control, values, answers, [lowest, highest]) {
  const height = (score) => HEIGHT - 2 - ((HEIGHT - 4) * (score - lowest)) / (highest - lowest || 1);
  const place = (value) => ((value - values[0]) / (values.at(-1) - values[0])) * WIDTH;
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": true });
  const points = values.map((value, index) => `${place(value)},${height(answers[index])}`).join(" ");
  picture.append(svg("polyline", { points, fill: "none" }));
  const now = Number(control.value);
  if (control.value !== "" && now >= values[0] && now <= values.at(-1)) {
    picture.append(svg("line", { x1: place(now), x2: place(now), y1: 0, y2: HEIGHT }));
  }
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: values[0], max: values.at(-1), ariaLabel: control.name });
  slider.step = values.length < POINTS ? 1 : (values.at(-1) - values[0]) / 200;
  slider.value = now;
  slider.addEventListener("change", () => take(control, Number(Number(slider.value).toPrecision(5))));
  const ends = document.createElement("small");
  ends.append(readable(values[0]), " to ", readable(values.at(-1)), " in the training data");
  return [picture, slider, ends];
}

function bars(control, values, answers, [lowest, highest]) {
  return values.map((value, place) => {
    const button = document.createElement("button");
    button.type = "button";
    const meter = document.createElement("meter");
    Object.assign(meter, { min: Math.min(0, lowest), max: Math.max(highest, 1e-9), value: answers[place] });
    meter.ariaLabel = `${value}`;
    button.append(`${value} `, meter);
    button.ariaPressed = `${value}` === `${control.type === "checkbox" ? control.checked : control.value}`;
    button.addEventListener("click", () => take(control, value));
    return button;
  });
}

async function tryOne(control, instance, now) {
  const values = valuesOf(control).slice(0, mostRows);
  if (values.length < 2) {
    return null;
  }
  const instances = values.map((value) => ({ ...instance, [control.name]: value }));
  const { text } = await send(form.dataset.url, "application/json", JSON.stringify({ instances }), "application/json");
  const answers = scores(JSON.parse(text), now);
  return { control, values, answers, effect: Math.max(...answers) - Math.min(...answers) };
}

async function draw({ instance, answer }) {
  asked += 1;
  const turn = asked;
  const tried = [];
  try {
    for (const control of controls.slice(0, MOST_TRIED)) {
      tried.push(await tryOne(control, instance, answer));
      if (turn !== asked) {
        return;
      }
    }
  } catch (error) {
    list.replaceChildren(error.message);
    return;
  }
  const found = tried.filter(Boolean).sort((one, other) => other.effect - one.effect);
  const all = found.flatMap(({ answers }) => answers);
  const isShare = answer.probabilities || typeof Object.values({ ...answer.predictions })[0] === "string";
  const range = isShare ? [0, 1] : [Math.min(...all), Math.max(...all)];
  list.replaceChildren(
    ...found.slice(0, MOST_SHOWN).map(({ control, values, answers }) => {
      const item = document.createElement("li");
      const title = document.createElement("strong");
      title.textContent = control.name;
      const isNumber = control.type === "number";
      item.append(title, ...(isNumber ? curve : bars)(control, values, answers, range));
      return item;
    }),
  );
}

const update = () => section.open && last && draw(last);
onAnswer(update);
section.addEventListener("toggle", update);
