// CSV as found in practice: any of three separators, with or without a byte order mark, in one of three encodings.
const SEPARATORS = [",", ";", "\t"];
const plain = (name) => name.replaceAll(/[\s_-]/g, "").toLowerCase();

// The text of a file, and a function that encodes text like the file. Throws an Error if the file is none of text.
export function decode(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) {
    const encode = (other) => Uint16Array.from({ length: other.length }, (_, place) => other.charCodeAt(place));
    return { text: new TextDecoder("utf-16le", { ignoreBOM: true }).decode(bytes), encode };
  }
  if (bytes.includes(0)) {
    throw new Error("This is not a text file. If it comes from a spreadsheet, save it as CSV there.");
  }
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

// The rows of a text: cells, own text, number of the first line, and whether a quote stays open; blank ones are skipped.
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
    if (cells.some((each) => each.trim() !== "")) {
      rows.push({ cells, text: text.slice(start, place), line: first, isOpen: isQuoted });
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

// The separator that splits the first line into this many cells, decimal commas set aside, or into the most.
export function separatorOf(text, length) {
  const line = /.*[^\s,;].*/.exec(text)?.[0] ?? "";
  const counts = SEPARATORS.map((separator) => parse(line, separator)[0]?.cells.length ?? 0);
  const whole = counts.findLastIndex((count) => count >= Math.max(2, length));
  return SEPARATORS[whole < 0 ? counts.indexOf(Math.max(...counts)) : whole];
}

// The place of each name in a heading: by exact name, or ignoring case, blanks and underscores.
export function match(names, heading) {
  const [exact, loose] = [heading.map((cell) => cell.trim()), heading.map(plain)];
  return names.map((name) => (exact.includes(name) ? exact.indexOf(name) : loose.indexOf(plain(name))));
}

// A cell whose decimal comma, if it has one, is a point.
export function withPoint(cell) {
  return /^[-+]?\d*,\d+$/.test(cell) ? cell.replace(",", ".") : cell;
}

// A value encoded as a CSV cell.
export function quote(value, separator = ",") {
  const text = String(value);
  return text.includes(separator) || /["\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
