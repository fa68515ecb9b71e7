// The form: its controls, reading and filling them, and its answers; with helpers for drawing and formatting.
export const form = document.getElementById("inputs");
export const controls = [...form.querySelectorAll("[data-type]")];
const problem = document.getElementById("problem");

// Say what is wrong with the inputs; nothing takes it back.
export function say(text) {
  problem.textContent = text;
  problem.hidden = text === "";
}

// The value of a control; undefined if it is missing.
function valueOf(control) {
  if (control.type === "checkbox") {
    return control.checked;
  }
  if (control.value === "") {
    return undefined;
  }
  if (control.dataset.type === "tensor") {
    try {
      return JSON.parse(control.value);
    } catch (error) {
      throw new Error(`${control.name} is not JSON: ${error.message}`);
    }
  }
  return control.dataset.type === "number" ? Number(control.value) : control.value;
}

// The instance in the form, by the names of its inputs.
export function instanceOf() {
  return Object.fromEntries(controls.map((control) => [control.name, valueOf(control)]));
}

// The last answer and its instance.
export let last = null;
document.addEventListener("answered", ({ detail }) => {
  last = detail;
});

// Call a listener with each answer, including the last one if it arrived before the listener's script loaded.
export function onAnswer(listener) {
  if (last) {
    listener(last);
  }
  document.addEventListener("answered", ({ detail }) => listener(detail));
}

// Format a number for display.
export function readable(number) {
  return number.toLocaleString("en", { maximumSignificantDigits: 4 });
}

// Create an SVG element.
export function svg(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) {
    node.setAttribute(key, value);
  }
  return node;
}

// Create a row of a table: a name, a bar and the number that it shows.
export function meterRow(name, attributes, number) {
  const row = document.createElement("tr");
  const heading = document.createElement("th");
  heading.scope = "row";
  heading.textContent = name;
  const meter = document.createElement("meter");
  Object.assign(meter, { ...attributes, ariaLabel: name });
  row.append(heading);
  row.insertCell().append(meter);
  row.insertCell().append(number);
  return row;
}

// Set the value of a control, or clear it; return whether it takes the value: a list takes only its own.
export function put(control, value) {
  if (control.type === "checkbox") {
    control.checked = value === true;
  } else if (control.dataset.type === "tensor") {
    control.value = JSON.stringify(value);
  } else {
    control.value = value ?? "";
  }
  control.dispatchEvent(new Event("input", { bubbles: true }));
  return control.type === "checkbox" || control.dataset.type === "tensor" || control.value === `${value ?? ""}`;
}

// Fill the form from an instance: an object by names, or the values in order. Return the controls that do not take theirs.
export function fill(instance) {
  const isByName = !Array.isArray(instance) && typeof instance === "object";
  const isWhole = controls.length === 1 && controls[0].dataset.type === "tensor" && !isByName;
  return controls.filter(
    (control, place) => !put(control, isByName ? instance[control.name] : isWhole ? instance : instance[place]),
  );
}

// Whether a control's number is outside the range of the training data.
export function isOutside(control) {
  const { minimum, maximum } = control.dataset;
  const value = valueOf(control);
  return minimum !== undefined && value !== undefined && (value < Number(minimum) || value > Number(maximum));
}
