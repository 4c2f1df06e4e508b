// Attention maps: unpacked, and painted.

/** The bytes of all maps: base64, deflated. */
async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** One head's map: `weight(q, k)` is how much token q looks at token k. */
function mapOf(look, bytes, place, layer, head) {
  const [, heads, rows, columns] = place.shape;
  const begins = place.offset + (layer * heads + head) * rows * columns;
  const cells = bytes.subarray(begins, begins + rows * columns);
  return { rows, columns, cells, weight: (q, k) => cells[q * columns + k] / look.steps };
}

/** The red, green and blue of a style's variable, in the theme that is on. */
function colour(variable) {
  const probe = el("span", { hidden: "", style: `color: var(${variable})` });
  document.body.append(probe);
  const parts = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  probe.remove();
  return parts;
}

let theme = null; // what is asked of the style once, until the page is painted anew
document.addEventListener("repaint", () => (theme = null));

/** The colours of the theme; `shades` are those of the 256 steps, by the square root, since most weights are small. */
function colours() {
  if (theme) return theme;
  const [low, high] = [colour("--map-low"), colour("--map-high")];
  const shades = Array.from({ length: 256 }, (_, step) => low.map((from, i) => from + Math.sqrt(step / 255) * (high[i] - from)));
  const [ink, accent, page, second] = ["--ink", "--accent", "--page", "--second"].map((name) => `rgb(${colour(name).join(" ")})`);
  theme = { shades, ink, accent, page, second };
  return theme;
}

/** A map with a pixel a weight; the style makes it larger. */
function paintSmall(canvas, map) {
  const { shades } = colours();
  canvas.width = map.columns;
  canvas.height = map.rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(map.columns, map.rows);
  map.cells.forEach((step, i) => {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = shades[step][c];
    image.data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

const FONT = 'system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif';

/** How large a map is drawn: its cells, and the room of its labels. */
function measures(map, queries, keys, room) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `12px ${FONT}`;
  const longest = (tokens) => Math.min(96, Math.max(...tokens.map((one) => pen.measureText(one).width))) + 10;
  const [left, top] = [longest(queries), longest(keys)];
  const most = Math.max(map.columns, map.rows);
  const least = most > 96 ? 3 : 11; // beyond it, labels would not be read in any case
  return { left, top, cell: Math.max(least, Math.min(34, Math.floor((room - left) / map.columns))) };
}

/** A map with its tokens: those that look down the left, those that are looked at along the top. */
function paintBig(canvas, map, asking, asked, size, query) {
  const { left, top, cell } = size;
  const [width, height] = [left + cell * map.columns + 1, top + cell * map.rows + 1];
  const density = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = width * density;
  canvas.height = height * density;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(density, density);
  const small = document.createElement("canvas");
  paintSmall(small, map);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, left, top, cell * map.columns, cell * map.rows);
  if (cell > 8) rule(pen, map, size);
  const { ink, accent, second } = colours();
  const [below, beside] = [asking.parts.indexOf(1), asked.parts.indexOf(1)]; // where the second text of a pair begins
  pen.fillStyle = second;
  if (below > 0) pen.fillRect(left, top + cell * below - 1, cell * map.columns, 2);
  if (beside > 0) pen.fillRect(left + cell * beside - 1, top, 2, cell * map.rows);
  pen.strokeStyle = accent;
  pen.lineWidth = 2;
  pen.strokeRect(left - 1, top + cell * query - 1, cell * map.columns + 1, cell + 1);
  if (cell < 9) return;
  pen.textBaseline = "middle";
  const shade = ({ parts }, i) => (parts[i] === 1 ? second : ink);
  asking.tokens.forEach((text, q) => label(pen, text, left - 5, top + cell * (q + 0.5), 0, q === query ? accent : shade(asking, q), cell));
  asked.tokens.forEach((text, k) => label(pen, text, left + cell * (k + 0.5), top - 5, Math.PI / 2, shade(asked, k), cell));
}

/** Lines of the page's colour between the cells. */
function rule(pen, map, { left, top, cell }) {
  pen.fillStyle = colours().page;
  for (let k = 1; k <= map.columns; k++) pen.fillRect(left + cell * k - 1, top, 1, cell * map.rows);
  for (let q = 1; q <= map.rows; q++) pen.fillRect(left, top + cell * q - 1, cell * map.columns, 1);
}

/** A token's text, at the most 96 pixels long, ending at (x, y), or turned to stand on it. */
function label(pen, text, x, y, turned, style, cell) {
  pen.save();
  pen.translate(x, y);
  pen.rotate(-turned);
  pen.fillStyle = style;
  pen.font = `${Math.min(12, cell)}px ${FONT}`;
  pen.textAlign = turned ? "left" : "right";
  const letters = [...text];
  while (letters.length > 1 && pen.measureText(`${letters.join("")}…`).width > 96) letters.pop();
  pen.fillText(letters.length < [...text].length ? `${letters.join("")}…` : text, 0, 0);
  pen.restore();
}
