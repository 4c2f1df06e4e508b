// Small parts that the sections share.

/** An element. What is no element becomes text, so that nothing of a text is read as HTML; "--x" is a style's variable. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("--")) made.style.setProperty(name, value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A piece of the text that was read: no translator's business, and its direction stays inside it. */
const token = (text, part) => el("bdi", { class: part === 1 ? "token second" : "token", translate: "no" }, text);

/** The tokens of a stack; those of the second text of a pair are marked. */
const tokensOf = ({ tokens, parts }) => tokens.map((text, i) => token(text, parts[i]));

/** A number to so many digits; without one, a dash. */
function number(x, digits = 3) {
  if (x === null) return "–";
  const written = x === 0 ? "0" : Math.abs(x) >= 10 ** digits ? x.toFixed(0) : x.toPrecision(digits);
  return written.replaceAll("-", "−");
}

const percent = (x) => (x === null ? "–" : `${x >= 0.0995 ? Math.round(100 * x) : number(100 * x, 2)}%`);

/** A section of the page with its heading, and what it shows in a sentence or two. */
function section(id, title, lead, ...children) {
  const heading = el("h2", { id: `${id}-title` }, title);
  return el("section", { id, "aria-labelledby": `${id}-title` }, heading, el("p", { class: "lead" }, lead), ...children);
}

/**
 * Many items that are one stop of the Tab key: arrows, Home and End move from one to the next.
 *
 * columns   of a grid; 0 = items that wrap like text
 * show      hears the index of the item that has the focus or the pointer
 */
function rove(items, columns, show) {
  let stop = 0;
  items.forEach((item, i) => {
    item.tabIndex = i === stop ? 0 : -1;
    item.addEventListener("pointerenter", () => show(i));
    item.addEventListener("focus", () => {
      items[stop].tabIndex = -1;
      item.tabIndex = 0;
      stop = i;
      show(i);
    });
    item.addEventListener("keydown", (event) => {
      const next = event.ctrlKey || event.metaKey || event.altKey ? undefined : neighbour(items, columns, i, event.key);
      if (next === undefined) return;
      event.preventDefault();
      items[next]?.focus();
    });
  });
}

/** Where a key leads from item i: an index, -1 for nowhere, undefined where it is no key of ours. */
function neighbour(items, columns, i, key) {
  const start = columns ? i - (i % columns) : 0;
  const end = columns ? start + columns - 1 : items.length - 1;
  if (key === "ArrowLeft") return i > start ? i - 1 : -1;
  if (key === "ArrowRight") return i < end ? i + 1 : -1;
  if (key === "Home") return start;
  if (key === "End") return end;
  if (key !== "ArrowUp" && key !== "ArrowDown") return undefined;
  const way = key === "ArrowUp" ? -1 : 1;
  return columns ? i + way * columns : lineBeside(items, i, way);
}

/** The item above or below i where lines wrap. */
function lineBeside(items, i, way) {
  const here = items[i].getBoundingClientRect();
  let best = -1;
  let nearest = Infinity;
  for (let j = i + way; items[j]; j += way) {
    const there = items[j].getBoundingClientRect();
    if (way * (there.top - here.top) < here.height / 2) continue; // the same line
    const away = Math.abs(there.left - here.left) + 100 * Math.abs(there.top - here.top);
    if (away < nearest) [best, nearest] = [j, away];
  }
  return best;
}

/** A choice of one among a few, by native radio buttons; none at all where there is but one. */
function choice(title, name, options, chosen, choose) {
  if (options.length < 2) return "";
  const buttons = options.map(({ value, label }) => {
    const input = el("input", { type: "radio", name, value });
    input.checked = value === chosen;
    input.addEventListener("change", () => choose(value));
    return el("label", {}, input, el("span", {}, label));
  });
  return el("fieldset", { class: "choice" }, el("legend", {}, title), ...buttons);
}

/** A table whose cells are visited by the arrow keys: rows of layers, columns of tokens. */
function tokenTable(label, stack, rows, cell, show) {
  const tokens = tokensOf(stack);
  const head = el("tr", {}, el("th", { scope: "col" }, "layer"));
  tokens.forEach((text, i) => head.append(el("th", { scope: "col" }, text, el("small", {}, i))));
  const cells = [];
  const body = rows.map((name, r) => {
    const row = el("tr", {}, el("th", { scope: "row" }, name));
    tokens.forEach((_, t) => {
      const made = cell(r, t);
      made.setAttribute("role", "gridcell");
      cells.push(made);
      row.append(made);
    });
    return row;
  });
  let here = cells[0];
  rove(cells, tokens.length, (i) => {
    here.classList.remove("here");
    here = cells[i];
    here.classList.add("here");
    show(Math.floor(i / tokens.length), i % tokens.length);
  });
  const table = el("table", { class: "tokens", role: "grid", "aria-label": label }, el("thead", {}, head), el("tbody", {}, ...body));
  return el("div", { class: "scroll" }, table);
}

/** What may be wider than the page, and is then moved to and fro, by keys too. */
const scroller = (label, wide) => el("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": label }, wide);

/** Where a section says what the pointer or the focus is at. */
const readout = () => el("div", { class: "readout", role: "status", "aria-live": "polite" });
