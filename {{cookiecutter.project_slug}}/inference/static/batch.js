// Sends the rows of a CSV file to the service in parts, and offers the file with its predictions for download.
import { decode, match, parse, quote, separatorOf, withPoint } from "./csv.js";
import { controls, meterRow } from "./form.js";
import { send } from "./request.js";

const PART = 1000;
// Limits for the rows in the preview, and for failed rows.
const PREVIEWED = 5;
const MOST_FAILED = 100;
const BINS = 10;
const MARK = "\uFEFF";

const section = document.getElementById("batch");
const file = document.getElementById("file");
const drop = document.getElementById("drop");
const progress = document.getElementById("progress");
const status = document.getElementById("batch-status");
const matched = document.getElementById("matched");
const preview = document.getElementById("preview");
const failed = document.getElementById("failed");
const histogram = document.getElementById("histogram");
const cancel = document.getElementById("cancel");
const download = document.getElementById("download");
const columns = controls.flatMap(columnsOf);
const names = columns.map(({ name }) => name);
let running = null;

// The columns of a file for an input: one for a column, or one for each value of a tensor.
function columnsOf(control) {
  const { name, required, dataset } = control;
  if (dataset.type !== "tensor") {
    return [{ name, required, isNumber: dataset.type === "number" }];
  }
  const { shape, datatype } = control.closest("fieldset").dataset;
  const length = JSON.parse(shape).reduce((product, size) => product * size, 1);
  const isNumber = !["BOOL", "BYTES"].includes(datatype);
  return Array.from({ length }, (_, place) => ({ name: `${name}[${place}]`, required, isNumber }));
}

// The table of a file: heading, rows, and the places of the model's columns. Throws an Error that says what is wrong.
function read(text) {
  const separator = separatorOf(text, names.length);
  const rows = parse(text, separator);
  if (rows.at(-1)?.isOpen) {
    throw new Error(`A quote is opened in line ${rows.at(-1).line} or after it, and never closed.`);
  }
  const first = rows[0]?.cells ?? [];
  const places = match(names, first);
  const isNumbers = columns.every(({ isNumber }) => isNumber);
  const isText = (cell) => Number.isNaN(Number(withPoint(cell.trim())));
  const isHeading = places.some((place) => place >= 0) || (isNumbers && first.some(isText));
  const table = { separator, heading: isHeading ? rows.shift() : null, rows, places };
  if (!isHeading) {
    if (rows.length && first.length < names.length) {
      throw new Error(`The first line has ${first.length} of ${names.length} cells, and names no column of the model.`);
    }
    table.places = names.map((_, place) => place);
  } else {
    const missing = names.filter((name, place) => places[place] < 0);
    const needed = missing.filter((name) => columns[names.indexOf(name)].required);
    if (needed.length) {
      throw new Error(`The file has no column ${needed.join(", ")}. Its columns are ${first.join(", ")}.`);
    }
  }
  const numberOf = ({ cells }) => table.places.map((place, n) => (columns[n].isNumber ? cells[place]?.trim() : ""));
  const numbers = separator === "," ? [] : rows.flatMap(numberOf);
  const [comma, point] = [/^[-+]?\d*,\d+$/, /^[-+]?\d*[.]\d+$/].map((mark) => numbers.find((cell) => mark.test(cell)));
  if (comma && point) {
    throw new Error(`The numbers ${comma} and ${point} differ in their decimal mark: leave out what parts thousands.`);
  }
  return table;
}

// A cell as the service reads it: a decimal comma, possible if commas do not separate cells, becomes a point.
function cellOf({ cells }, place, { isNumber }, separator) {
  const cell = place < 0 ? "" : (cells[place] ?? "").trim();
  return separator !== "," && isNumber ? withPoint(cell) : cell;
}

function fillTable(table, lines) {
  table.replaceChildren(
    ...lines.map((cells) => {
      const row = document.createElement("tr");
      for (const cell of cells) {
        row.insertCell().append(cell);
      }
      return row;
    }),
  );
}

function showTable({ heading, rows, places, separator }) {
  const found = names.map((name, place) => [name, places[place] < 0 ? "missing" : (heading?.cells[places[place]] ?? place + 1)]);
  fillTable(matched.tBodies[0], found.slice(0, 100));
  fillTable(
    preview.tBodies[0],
    [names, ...rows.slice(0, PREVIEWED).map((row) => names.map((_, n) => cellOf(row, places[n], columns[n], separator)))].map(
      (cells) => cells.slice(0, 12),
    ),
  );
  document.getElementById("read").hidden = false;
}

// The row in which the service counts a line below the heading; a quoted cell may hold line breaks.
function placeOf(rows, number) {
  let last = 1;
  return rows.findIndex((row) => {
    last += row.split("\n").length;
    return number <= last;
  });
}

// Request predictions for some rows; those that fail get the reason, the others their answers.
async function ask(table, part, answers, signal) {
  let waiting = part;
  while (waiting.length) {
    const lines = waiting.map((row) =>
      names.map((_, n) => quote(cellOf(row, table.places[n], columns[n], table.separator))).join(","),
    );
    try {
      const body = [names.map((name) => quote(name)).join(","), ...lines].join("\n");
      const { text } = await send(section.dataset.url, "text/csv", body, "text/csv", signal);
      const [heading, ...found] = parse(text, ",");
      answers.heading = heading.cells;
      for (const [place, row] of waiting.entries()) {
        answers.rows.set(row, found[place].cells);
      }
      return;
    } catch (error) {
      const place = placeOf(lines, Number(/^line (\d+)/.exec(error.message)?.[1]));
      if (!(place in waiting)) {
        throw error;
      }
      const row = waiting[place];
      answers.failed.push([row.line, error.message.replace(/^line \d+[,:]\s*/, "")]);
      if (answers.failed.length > MOST_FAILED) {
        throw new Error(`More than ${MOST_FAILED} rows fail: is this the right file?`);
      }
      waiting = waiting.filter((other) => other !== row);
    }
  }
}

// How often each answer was given; numbers are grouped into ranges.
function count(values) {
  const numbers = values.map(Number);
  const isNumber = numbers.every((value) => !Number.isNaN(value)) && new Set(values).size > BINS;
  if (!isNumber) {
    const counts = new Map();
    for (const value of values) {
      counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    return [...counts].sort(([, one], [, other]) => other - one).slice(0, 50);
  }
  const lowest = numbers.reduce((one, other) => Math.min(one, other));
  const width = (numbers.reduce((one, other) => Math.max(one, other)) - lowest) / BINS || 1;
  const bins = Array.from({ length: BINS }, () => 0);
  for (const number of numbers) {
    bins[Math.min(BINS - 1, Math.floor((number - lowest) / width))] += 1;
  }
  return bins.map((size, place) => [`from ${(lowest + place * width).toPrecision(4)}`, size]);
}

function showCounts(values) {
  const counts = count(values);
  histogram.tBodies[0].replaceChildren(
    ...counts.map(([name, size]) => meterRow(name, { max: values.length, value: size }, size.toLocaleString("en"))),
  );
  histogram.hidden = false;
}

function offer(chosen, text, encode, table, answers) {
  const { separator, rows } = table;
  const heading = table.heading ?? { text: names.map((name) => quote(name, separator)).join(separator), cells: names };
  // Rows may have fewer cells than others: the answers stand in the same columns nevertheless.
  const width = rows.reduce((most, { cells }) => Math.max(most, cells.length), heading.cells.length);
  const line = (own, cells) =>
    [own.text, ...Array(width - own.cells.length).fill(""), ...cells.map((cell) => quote(cell, separator))].join(separator);
  const end = text.includes("\r\n") ? "\r\n" : "\n";
  const blanks = answers.heading.map(() => "");
  const lines = [
    `${text.startsWith(MARK) ? MARK : ""}${line(heading, answers.heading)}`,
    ...rows.map((row) => line(row, answers.rows.get(row) ?? blanks)),
  ];
  URL.revokeObjectURL(download.href);
  download.href = URL.createObjectURL(new Blob(lines.map((each) => encode(each + end)), { type: "text/csv" }));
  download.download = chosen.name.replace(/(\.csv)?$/i, "-predictions.csv");
  download.hidden = false;
}

async function run(chosen) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  for (const part of [download, failed, histogram, document.getElementById("read")]) {
    part.hidden = true;
  }
  status.textContent = "";
  const answers = { heading: [], rows: new Map(), failed: [] };
  let finish = () => {};
  try {
    const { text, encode } = decode(new Uint8Array(await chosen.arrayBuffer()));
    const table = read(text.startsWith(MARK) ? text.slice(1) : text);
    const { rows } = table;
    finish = () => show(chosen, text, encode, table, answers);
    if (rows.length === 0) {
      status.textContent = `${chosen.name} has no rows.`;
      return;
    }
    showTable(table);
    progress.max = rows.length;
    progress.value = 0;
    progress.hidden = cancel.hidden = false;
    let size = Math.min(PART, Number(section.dataset.rows));
    let start = 0;
    while (start < rows.length) {
      try {
        await ask(table, rows.slice(start, start + size), answers, signal);
        start = Math.min(start + size, rows.length);
      } catch (error) {
        // The cells are many or long: send fewer rows at once.
        if (error.status !== 413 || size === 1) {
          throw error;
        }
        size = Math.ceil(size / 2);
      }
      progress.value = start;
      status.textContent = `${start} of ${rows.length} rows`;
    }
    finish();
  } catch (error) {
    if (error.name === "AbortError") {
      status.textContent = "Cancelled.";
      return;
    }
    finish();
    const kept = answers.rows.size ? ` The download has the answers of ${answers.rows.size} rows before that.` : "";
    status.textContent = `${error.message}${kept}`;
  } finally {
    progress.hidden = cancel.hidden = true;
  }
}

function show(chosen, text, encode, table, answers) {
  fillTable(failed.tBodies[0], answers.failed);
  failed.hidden = answers.failed.length === 0;
  const { rows } = table;
  if (answers.failed.length) {
    status.textContent = `${answers.rows.size} of ${rows.length} rows; ${answers.failed.length} failed, see below`;
  }
  if (answers.rows.size) {
    showCounts([...answers.rows.values()].map(([first]) => first));
    offer(chosen, text, encode, table, answers);
  }
}

cancel.addEventListener("click", () => running?.abort());
file.addEventListener("click", () => {
  file.value = "";
});
file.addEventListener("change", () => file.files[0] && run(file.files[0]));
drop.addEventListener("dragover", (event) => event.preventDefault());
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) {
    run(event.dataTransfer.files[0]);
  }
});
