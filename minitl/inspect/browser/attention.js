// Attention: every head of every layer, and one of them with its tokens.

const KINDS = {
  self: { place: "maps", label: "self", says: "how much each token looks at each of its own text" },
  cross: { place: "cross", label: "cross", says: "how much each token that is written looks at each of the source" },
  rollout: { place: "flow", label: "rollout", says: "how much of each first vector is in each vector after the layers so far" },
};

/** A weight, no more exact than it is kept. */
const tenths = (x) => (x === 0 ? "0" : `${x < 0.0995 ? (100 * x).toFixed(1) : Math.round(100 * x)}%`);

/** The section, and what draws it once it stands in the page. */
function attention(look, bytes) {
  const state = { stack: 0, kind: "self", layer: 0, head: 0, query: 1 };
  const controls = el("div", { class: "controls" });
  const [all, one, lists] = ["all", "one", "lists"].map((part) => el("div", { class: part }));
  let repaint = () => {};

  const draw = () => {
    const stack = look.stacks[state.stack];
    const place = stack[KINDS[state.kind].place];
    const view = {
      state,
      place,
      queries: stack,
      keys: state.kind === "cross" ? look.stacks[0] : stack,
      map: (layer, head) => mapOf(look, bytes, place, layer, head),
    };
    state.layer = Math.min(state.layer, place.shape[0] - 1);
    state.head = Math.min(state.head, place.shape[1] - 1);
    state.query = Math.min(state.query, stack.tokens.length - 1);
    const head = oneHead(view);
    const grid = headGrid(view, head.draw);
    all.replaceChildren(grid.node);
    one.replaceChildren(...head.map);
    lists.replaceChildren(...head.lists);
    repaint = () => [grid, head].forEach((part) => part.draw());
    repaint();
  };
  const choose = (name) => (value) => {
    state[name] = value;
    if (!look.stacks[state.stack][KINDS[state.kind].place]) state.kind = "self";
    controls.replaceChildren(...choices(look, state, choose));
    controls.querySelector(`input[name="${name}"]:checked`)?.focus();
    draw();
  };
  controls.replaceChildren(...choices(look, state, choose));
  document.addEventListener("repaint", () => repaint());
  const lead = `Rows look, columns are looked at; the shade is the square root of the weight. Weights are kept in steps of 1/${look.steps}: each is within ${(0.5 / look.steps).toFixed(4)} of the model's. Choose a head; point at a token or go to it with the arrow keys.`;
  const made = section("attention", "Attention", lead, controls, el("div", { class: "split maps" }, all, one, lists));
  return { made, start: draw };
}

function choices(look, state, choose) {
  const stacks = look.stacks.map((stack, i) => ({ value: i, label: stack.name }));
  const kinds = Object.entries(KINDS).filter(([, kind]) => look.stacks[state.stack][kind.place]);
  return [
    choice("Text of the", "stack", stacks, state.stack, (i) => choose("stack")(Number(i))),
    choice("Map", "kind", kinds.map(([value, { label }]) => ({ value, label })), state.kind, choose("kind")),
  ];
}

/** Layers × heads of small maps; one map a layer of a rollout. */
function headGrid({ state, place, map }, chosen) {
  const [layers, heads] = place.shape;
  const cells = [];
  const title = (layer, head) => (state.kind === "rollout" ? `Layers 0 to ${layer}` : `Layer ${layer}, head ${head}`);
  const rows = Array.from({ length: layers }, (_, layer) => {
    const row = el("div", { role: "row" }, el("span", { role: "rowheader" }, layer));
    for (let head = 0; head < heads; head++) {
      const cell = el("button", { type: "button", role: "gridcell", "aria-label": title(layer, head), title: title(layer, head) }, el("canvas"));
      cell.addEventListener("click", () => {
        [state.layer, state.head] = [layer, head];
        mark();
        chosen();
      });
      cells.push(cell);
      row.append(cell);
    }
    return row;
  });
  const mark = () => cells.forEach((cell, i) => cell.setAttribute("aria-selected", i === state.layer * heads + state.head));
  rove(cells, heads, () => {});
  const numbers = Array.from({ length: heads }, (_, head) => el("span", { role: "columnheader" }, head));
  const corner = el("span", { role: "columnheader", class: "corner" }, state.kind === "rollout" ? "layer" : "layer, head");
  const top = el("div", { role: "row" }, corner, ...(heads > 1 ? numbers : []));
  const node = el("div", { class: `heads ${state.kind}`, role: "grid", "aria-label": "Maps of all layers and heads", "--heads": heads }, top, ...rows);
  const draw = () => {
    cells.forEach((cell, i) => paintSmall(cell.firstChild, map(Math.floor(i / heads), i % heads)));
    mark();
  };
  return { node, draw };
}

/** One head: its map with the tokens, and lists that say where one token looks. */
function oneHead({ state, queries: asking, keys: asked, map }) {
  const [queries, keys] = [asking.tokens, asked.tokens];
  const heading = el("h3", { "aria-live": "polite" });
  const canvas = el("canvas", { class: "big", role: "img" });
  const frame = scroller("The map of one head", canvas);
  const lists = whereItLooks(asking, asked, state.kind === "rollout" ? " comes from " : " looks at ");
  let size;
  let pointed = null; // the token under the pointer, of those that are looked at

  const draw = () => {
    const name = state.kind === "rollout" ? `Layers 0 to ${state.layer} together` : `Layer ${state.layer}, head ${state.head}`;
    const between = betweenTexts(map(state.layer, state.head), asking.parts, asked.parts);
    heading.replaceChildren(name, el("small", {}, ` ${state.kind}: ${KINDS[state.kind].says}${between}`));
    canvas.setAttribute("aria-label", `${name}: ${queries.length} tokens by ${keys.length}; the lists have the numbers`);
    size = measures(map(state.layer, state.head), queries, keys, frame.clientWidth || 600);
    paint();
  };
  const paint = () => {
    const shown = map(state.layer, state.head);
    paintBig(canvas, shown, asking, asked, size, state.query);
    lists.tell(state.query, keys.map((_, k) => shown.weight(state.query, k)), pointed);
  };
  const turn = (query, key = null) => {
    const known = queries[query] !== undefined && (key === null || keys[key] !== undefined);
    if (!known || (query === state.query && key === pointed)) return;
    [state.query, pointed] = [query, key];
    paint();
  };
  rove(lists.from, 0, (query) => turn(query));
  canvas.addEventListener("pointermove", (event) => {
    turn(Math.floor((event.offsetY - size.top) / size.cell), Math.floor((event.offsetX - size.left) / size.cell));
  });
  return { map: [heading, frame], lists: lists.nodes, draw };
}

/** Of a pair, how much of what either text looks at is in the other. */
function betweenTexts(map, asking, asked) {
  const places = (parts, part) => parts.flatMap((one, i) => (one === part ? [i] : []));
  const share = (from, to) => {
    const rows = places(asking, from).map((q) => places(asked, to).reduce((sum, k) => sum + map.weight(q, k), 0));
    return tenths(rows.reduce((sum, x) => sum + x, 0) / Math.max(rows.length, 1));
  };
  return asking.length && asked.length ? `; of the first text's weight ${share(0, 1)} is in the second, of the second's ${share(1, 0)} in the first` : "";
}

/** The tokens that look, to choose one, and those that are looked at, with their weights. */
function whereItLooks(asking, asked, verb) {
  const [queries, keys] = [asking.tokens, asked.tokens];
  const said = readout();
  const from = tokensOf(asking).map((text) => el("li", { role: "option" }, text));
  const at = tokensOf(asked).map((text) => el("li", {}, text, el("small", {})));
  const tell = (query, weights, pointed) => {
    const most = Math.max(...weights, 1e-9);
    from.forEach((item, q) => item.setAttribute("aria-selected", q === query));
    at.forEach((item, k) => {
      item.setAttribute("aria-current", k === pointed);
      item.style.setProperty("--share", Math.sqrt(weights[k]).toFixed(3));
      item.style.setProperty("--bar", (weights[k] / most).toFixed(3));
      item.lastChild.textContent = tenths(weights[k]);
    });
    const strongest = weights.map((_, k) => k).sort((a, b) => weights[b] - weights[a]).slice(0, 3);
    const told = pointed === null ? strongest.filter((k) => weights[k] > 0) : [pointed];
    const list = told.flatMap((k, i) => [i ? ", " : "", token(keys[k]), ` ${tenths(weights[k])}`]);
    said.replaceChildren(token(queries[query]), verb, ...list);
  };
  const nodes = [
    said,
    el("h4", { id: "from" }, "From"),
    el("ul", { class: "chips from", role: "listbox", "aria-labelledby": "from" }, ...from),
    el("h4", { id: "at" }, "To"),
    el("ul", { class: "chips at", "aria-labelledby": "at" }, ...at),
  ];
  return { nodes, from, tell };
}
