// Filters columns, fills fields from an example or a pasted row, and marks values that training never saw.
import { fill, form, isOutside } from "./form.js";

const search = document.getElementById("search");
const problem = document.getElementById("problem");
const controls = [...form.querySelectorAll("[data-type]:not([data-type=tensor])")];

search?.addEventListener("input", () => {
  const wanted = search.value.trim().toLowerCase();
  for (const control of controls) {
    control.closest("label").hidden = !control.name.toLowerCase().includes(wanted);
  }
  for (const group of form.querySelectorAll("details")) {
    group.hidden = group.querySelector("label:not([hidden])") === null;
    group.open = wanted !== "" || group.matches(":first-of-type");
  }
});

// The browser can focus an invalid field only if it is visible.
form.addEventListener(
  "invalid",
  ({ target }) => {
    target.closest("label").hidden = false;
    const group = target.closest("details");
    if (group) {
      group.hidden = false;
      group.open = true;
    }
  },
  true,
);

// The cells of a row, which may follow a row of names, from a spreadsheet or from CSV with a cell for each column.
function cellsOf(text) {
  const lines = text.trimEnd().split(/\r?\n/);
  const isOfAll = (separator) => lines[0].split(separator).length === controls.length;
  const separator = lines[0].includes("\t") ? "\t" : [",", ";"].find(isOfAll);
  return separator && controls.length > 1 && lines.length <= 2 ? lines.map((line) => line.split(separator)) : [];
}

// Fill a field; return whether it accepted the cell: a list accepts only its values, a number field only numbers.
function put(control, cell) {
  const text = cell.trim();
  if (control.type === "checkbox") {
    control.checked = /^(true|1)$/i.test(text);
    return /^(true|1|false|0)$/i.test(text);
  }
  control.value = text;
  return control.value === text;
}

form.addEventListener("paste", (event) => {
  const start = controls.indexOf(event.target);
  const rows = start < 0 ? [] : cellsOf(event.clipboardData.getData("text"));
  if (rows.length === 0) {
    return;
  }
  event.preventDefault();
  const byName = (name) => controls.find((control) => control.name === name.trim());
  const fields = rows.length === 2 ? rows[0].map(byName) : controls.slice(start);
  const refused = rows
    .at(-1)
    .map((cell, index) => [fields[index], cell])
    .filter(([field, cell]) => field && !put(field, cell))
    .map(([field, cell]) => `${field.name}: ${cell}`);
  problem.textContent = refused.length ? `These do not fit their columns: ${refused.join(", ")}` : "";
  problem.hidden = refused.length === 0;
});

form.addEventListener("input", ({ target }) => {
  target.closest("label")?.querySelector("small")?.classList.toggle("outside", isOutside(target));
});

for (const example of document.querySelectorAll("[data-example]")) {
  example.addEventListener("click", () => {
    fill(JSON.parse(example.dataset.example));
    form.requestSubmit();
  });
}

// A shared link contains the inputs in its fragment, which is never sent to a server.
try {
  if (location.hash.startsWith("#inputs=")) {
    fill(JSON.parse(decodeURIComponent(location.hash.slice("#inputs=".length))));
  }
} catch {
  problem.textContent = "The link's inputs cannot be read: it may have been cut off.";
  problem.hidden = false;
}
