// CSV as found in practice: any of three separators, with or without a byte order mark, in UTF-8 or Windows encoding.
const SEPARATORS = [",", ";", "\t"];

// The text of a file, and a function that encodes text like the file.
export function decode(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return { text, encode: (other) => new TextEncoder().encode(other) };
  } catch {
    const table = new TextDecoder("windows-1252").decode(Uint8Array.from({ length: 256 }, (_, byte) => byte));
    const bytesOf = new Map([...table].map((character, byte) => [character, byte]));
    return {
      text: new TextDecoder("windows-1252").decode(bytes),
      encode: (other) => Uint8Array.from(other, (character) => bytesOf.get(character) ?? 63),
    };
  }
}

// The rows of a text, each with its cells, its own text and the number of its first line; empty lines are skipped.
export function parse(text, separator) {
  const rows = [];
  let cells = [];
  let cell = "";
  let isQuoted = false;
  let line = 1;
  let first = 1;
  let start = 0;
  const end = (place) => {
    cells.push(cell);
    if (cells.length > 1 || cells[0].trim() !== "") {
      rows.push({ cells, text: text.slice(start, place), line: first });
    }
    cells = [];
    cell = "";
  };
  for (let place = 0; place < text.length; place += 1) {
    const character = text[place];
    if (character === "\n") {
      line += 1;
    }
    if (isQuoted) {
      if (character !== '"') {
        cell += character;
      } else if (text[place + 1] === '"') {
        cell += '"';
        place += 1;
      } else {
        isQuoted = false;
      }
    } else if (character === '"' && cell.trim() === "") {
      isQuoted = true;
      cell = "";
    } else if (character === separator) {
      cells.push(cell);
      cell = "";
    } else if (character === "\n" || character === "\r") {
      end(place);
      if (character === "\r" && text[place + 1] === "\n") {
        place += 1;
        line += 1;
      }
      start = place + 1;
      first = line;
    } else {
      cell += character;
    }
  }
  end(text.length);
  return rows;
}

// The separator that splits the first line into the most cells.
export function separatorOf(text) {
  const line = text.slice(0, text.search(/[\r\n]|$/));
  const counts = SEPARATORS.map((separator) => parse(line, separator)[0]?.cells.length ?? 0);
  return SEPARATORS[counts.indexOf(Math.max(...counts))];
}

// A value encoded as a CSV cell.
export function quote(value, separator = ",") {
  const text = String(value);
  return text.includes(separator) || /["\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
