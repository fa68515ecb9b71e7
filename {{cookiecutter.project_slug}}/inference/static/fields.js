// Filters columns, fills fields from an example or a pasted row, and marks values that training never saw.
import { match, parse, withPoint } from "./csv.js";
import { fill, form, isOutside, put, say } from "./form.js";

const search = document.getElementById("search");
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

// The rows of pasted text: from a spreadsheet, or CSV with a cell for each column; none for what the field itself takes.
function rowsOf(text, control) {
  const isOfAll = (separator) => parse(text, separator)[0]?.cells.length === controls.length;
  const isDecimal = control.type === "number" && withPoint(text.trim()) !== text.trim();
  const separator = /^[^\r\n]*\t/.test(text) || isDecimal ? "\t" : [",", ";"].find(isOfAll);
  return separator && (controls.length > 1 || isDecimal) ? parse(text, separator) : [];
}

// Fill a field; return whether it takes the cell. In 4,050 the comma may part thousands.
function take(control, cell) {
  const text = cell.trim();
  if (control.type === "checkbox") {
    put(control, /^(true|1)$/i.test(text));
    return /^(true|1|false|0)$/i.test(text);
  }
  return put(control, control.type === "number" && !/^[-+]?[1-9]\d{0,2},\d{3}$/.test(text) ? withPoint(text) : text);
}

form.addEventListener("paste", (event) => {
  const start = controls.indexOf(event.target);
  const text = event.clipboardData.getData("text");
  const rows = start < 0 ? [] : rowsOf(text, event.target);
  const places = match(controls.map(({ name }) => name), rows[0]?.cells ?? []);
  const isNamed = rows.length > 1 && places.some((place) => place >= 0);
  // A text may contain commas and lines of its own.
  const isText = event.target.type === "textarea" && !isNamed && (rows.length > 1 || !text.includes("\t"));
  if (rows.length === 0 || isText) {
    return;
  }
  event.preventDefault();
  const [{ cells }, ...others] = isNamed ? rows.slice(1) : rows;
  const refused = controls
    .map((field, index) => [field, cells[isNamed ? places[index] : index - start]])
    .filter(([field, cell]) => cell !== undefined && !take(field, cell))
    .map(([field, cell]) => `${field.name}: ${cell}`);
  const unfit = refused.length ? `These do not fit their columns: ${refused.join(", ")}` : "";
  say(others.length ? `Only the first of ${others.length + 1} rows was taken. ${unfit}`.trim() : unfit);
});

// Where a language has decimal points, the browser drops a comma without a word: 44,4 would become 444.
form.addEventListener("beforeinput", ({ data, target }) => {
  if (data === "," && target.type === "number" && (0.5).toLocaleString().includes(".")) {
    say("The comma was left out: type a point before decimals, and nothing between thousands.");
  }
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
function fillFromLink() {
  const [, inputs] = location.hash.split("#inputs=");
  try {
    const refused = inputs ? fill(JSON.parse(decodeURIComponent(inputs))) : [];
    say(refused.length ? `The link's values do not fit: ${refused.map(({ name }) => name).join(", ")}` : "");
  } catch {
    say("The link's inputs cannot be read: it may have been cut off.");
  }
}

fillFromLink();
addEventListener("hashchange", fillFromLink);
