// Loads a tensor from a file, and shows it if it is a picture.
import { say } from "./form.js";

// The height, width and channels, which may come first, if a shape is that of a picture.
function pictureOf(shape) {
  if (shape.length === 2 && !shape.includes(-1)) {
    return { height: shape[0], width: shape[1], channels: 1, isFirst: false };
  }
  if (shape.length === 3 && !shape.includes(-1)) {
    const isFirst = [1, 3].includes(shape[0]) && ![1, 3].includes(shape[2]);
    const [channels, height, width] = isFirst ? shape : [shape[2], shape[0], shape[1]];
    return [1, 3].includes(channels) ? { height, width, channels, isFirst } : null;
  }
  return null;
}

// The index of a pixel's channel among all values.
function placeOf({ height, width, channels, isFirst }, pixel, channel) {
  return isFirst ? channel * height * width + pixel : pixel * channels + channel;
}

// Nest values into lists of a shape, in which one dimension may be free.
function nest(values, shape) {
  const known = shape.reduce((product, size) => (size < 0 ? product : product * size), 1);
  const free = values.length / known;
  if (!Number.isInteger(free) || (free !== 1 && !shape.includes(-1)) || shape.filter((size) => size < 0).length > 1) {
    throw new Error(`${values.length} values do not fill the shape ${shape.join(" × ")}`);
  }
  let nested = values;
  for (const size of shape.slice(1).reverse()) {
    const length = size < 0 ? free : size;
    nested = Array.from({ length: nested.length / length }, (_, row) => nested.slice(row * length, (row + 1) * length));
  }
  return shape.length === 0 ? nested[0] : nested;
}

const IS_VALUE = { BYTES: () => true, BOOL: (cell) => /^(true|1|false|0)$/i.test(cell) };
const READERS = { BYTES: String, BOOL: (cell) => /^(true|1)$/i.test(cell) };

function valuesOf(cells, datatype) {
  const isValue = IS_VALUE[datatype] ?? ((cell) => cell !== "" && Number.isFinite(Number(cell)));
  const wrong = cells.find((cell) => !isValue(cell));
  if (wrong !== undefined) {
    throw new Error(`'${wrong}' is not of type ${datatype}`);
  }
  return cells.map(READERS[datatype] ?? Number);
}

// The pixels of a picture, scaled to the size of the tensor and to the range of the training data.
async function readPicture(file, shape, { minimum, maximum, datatype }) {
  const picture = pictureOf(shape);
  if (!picture) {
    throw new Error(`A picture has no shape ${shape.join(" × ")}`);
  }
  const { height, width, channels } = picture;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.drawImage(await createImageBitmap(file), 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const values = [];
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    const [red, green, blue] = data.subarray(4 * pixel);
    const colours = channels === 1 ? [0.299 * red + 0.587 * green + 0.114 * blue] : [red, green, blue];
    for (const [channel, colour] of colours.entries()) {
      const value = Number(minimum) + (colour / 255) * (maximum - minimum);
      values[placeOf(picture, pixel, channel)] = datatype.startsWith("INT") ? Math.round(value) : value;
    }
  }
  return nest(values, shape);
}

async function read(file, { dataset }) {
  const shape = JSON.parse(dataset.shape);
  if (file.type.startsWith("image/")) {
    return readPicture(file, shape, dataset);
  }
  const text = (await file.text()).trim();
  const isJson = file.name.toLowerCase().endsWith(".json");
  return isJson ? JSON.parse(text) : nest(valuesOf(text.split(/\s*[,;\t\r\n]+\s*/), dataset.datatype), shape);
}

function draw(fieldset) {
  const { shape, minimum, maximum } = fieldset.dataset;
  const canvas = fieldset.querySelector("canvas");
  const picture = pictureOf(JSON.parse(shape));
  let values;
  try {
    values = JSON.parse(fieldset.querySelector("textarea").value).flat(3);
  } catch {
    values = [];
  }
  canvas.hidden = !picture || values.length !== picture.height * picture.width * picture.channels;
  if (canvas.hidden) {
    return;
  }
  const { height, width, channels } = picture;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let place = 0; place < 4 * width * height; place += 1) {
    const [pixel, channel] = [Math.floor(place / 4), Math.min(place % 4, channels - 1)];
    const value = (values[placeOf(picture, pixel, channel)] - minimum) / (maximum - minimum || 1);
    pixels.data[place] = place % 4 === 3 ? 255 : 255 * value;
  }
  context.putImageData(pixels, 0, 0);
}

for (const fieldset of document.querySelectorAll("#inputs fieldset")) {
  const text = fieldset.querySelector("textarea");
  const chosen = fieldset.querySelector("input");
  text.addEventListener("input", () => draw(fieldset));
  // Reset, so that the same file can be chosen again after it has changed.
  chosen.addEventListener("click", () => {
    chosen.value = "";
  });
  chosen.addEventListener("change", async () => {
    try {
      text.value = JSON.stringify(await read(chosen.files[0], fieldset));
      say("");
    } catch (error) {
      say(`${chosen.files[0].name}: ${error.message}`);
    }
    draw(fieldset);
  });
  draw(fieldset);
}
