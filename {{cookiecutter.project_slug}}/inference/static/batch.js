// Sends the rows of a CSV file to the service, part by part, and offers file and predictions in one.
import { send } from "./request.js";

const PART = 200;

const section = document.getElementById("batch");
const file = document.getElementById("file");
const drop = document.getElementById("drop");
const progress = document.getElementById("progress");
const status = document.getElementById("batch-status");
const download = document.getElementById("download");
const names = [...document.querySelectorAll("#inputs [data-type]")].map((control) => control.name);

// A name as CSV has it.
function quote(name) {
  return /[",\r\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name;
}

// The lines of CSV; a quoted cell may hold line breaks.
function linesOf(text) {
  return (text.match(/(?:"(?:[^"]|"")*"|[^"\r\n])+/g) ?? []).filter((line) => line.trim() !== "");
}

// A first line that names a column is a heading, and so is one in which a cell is no number where all columns are.
function split(text) {
  const lines = linesOf(text);
  const cells = (lines[0] ?? "").match(/(?:"(?:[^"]|"")*"|[^",])+/g) ?? [];
  const isNumbers = document.querySelectorAll("#inputs [data-type]:not([data-type=number])").length === 0;
  const isHeading =
    cells.some((cell) => names.map(quote).includes(cell.trim())) ||
    (isNumbers && cells.some((cell) => Number.isNaN(Number(cell))));
  return [isHeading ? lines.shift() : names.map(quote).join(","), lines];
}

async function predict(heading, lines, size) {
  const answers = [];
  for (let start = 0; start < lines.length; start += size) {
    const part = lines.slice(start, start + size);
    try {
      const { text } = await send(section.dataset.url, "text/csv", [heading, ...part].join("\n"), "text/csv");
      const [columns, ...rows] = text.trimEnd().split("\r\n");
      if (rows.length !== part.length) {
        throw new Error(`${part.length} lines gave ${rows.length} predictions`);
      }
      answers.push(...(start === 0 ? [columns, ...rows] : rows));
    } catch (error) {
      throw new Error(`Rows ${start + 1} to ${start + part.length}: ${error.message}`);
    }
    progress.value = start + part.length;
    status.textContent = `${progress.value} of ${lines.length} rows`;
  }
  return answers;
}

async function run(chosen) {
  download.hidden = true;
  const [heading, lines] = split(await chosen.text());
  if (lines.length === 0) {
    status.textContent = `${chosen.name} has no rows.`;
    return;
  }
  progress.max = lines.length;
  progress.value = 0;
  progress.hidden = false;
  try {
    const answers = await predict(heading, lines, Math.min(PART, Number(section.dataset.rows)));
    const joined = [heading, ...lines].map((line, index) => `${line},${answers[index]}\n`);
    URL.revokeObjectURL(download.href);
    download.href = URL.createObjectURL(new Blob(joined, { type: "text/csv" }));
    download.download = chosen.name.replace(/(\.csv)?$/i, "-predictions.csv");
    download.hidden = false;
  } catch (error) {
    status.textContent = error.message;
  }
}

file.addEventListener("change", () => file.files[0] && run(file.files[0]));
drop.addEventListener("dragover", (event) => event.preventDefault());
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) {
    run(event.dataTransfer.files[0]);
  }
});
