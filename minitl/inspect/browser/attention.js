// Attention: every head of every layer, and one of them with its tokens.

const KINDS = {
  self: { place: "maps", label: "self", says: "how much each token looks at each of its own text" },
  cross: { place: "cross", label: "cross", says: "how much each token that is written looks at each of the source" },
  rollout: { place: "flow", label: "rollout", says: "how much of each first vector is in each vector after the layers so far" },
};

function attention(look, bytes) {
  const state = { stack: 0, kind: "self", layer: 0, head: 0, query: 0 };
  const [controls, overview, detail] = [el("div", { class: "controls" }), el("div"), el("div", { class: "detail" })];
  let repaint = () => {};

  const draw = () => {
    const stack = look.stacks[state.stack];
    if (!stack[KINDS[state.kind].place]) state.kind = "self";
    const place = stack[KINDS[state.kind].place];
    const view = {
      state,
      place,
      queries: stack.tokens,
      keys: state.kind === "cross" ? look.stacks[0].tokens : stack.tokens,
      map: (layer, head) => mapOf(look, bytes, place, layer, head),
      palette: () => shades(look),
    };
    state.layer = Math.min(state.layer, place.shape[0] - 1);
    state.head = Math.min(state.head, place.shape[1] - 1);
    state.query = Math.min(state.query || 1, view.queries.length - 1);
    const one = oneHead(view);
    const all = headGrid(view, one.draw);
    overview.replaceChildren(all.node);
    detail.replaceChildren(...one.nodes);
    repaint = () => [all, one].forEach((part) => part.draw());
    repaint();
  };
  const choose = (name) => (value) => {
    state[name] = value;
    controls.replaceChildren(...choices(look, state, choose));
    controls.querySelector(`input[name="choice-${name}"]:checked`)?.focus();
    draw();
  };
  controls.replaceChildren(...choices(look, state, choose));
  document.addEventListener("repaint", () => repaint());
  const lead = `Rows look, columns are looked at; the shade is the square root of the weight. Weights are kept in steps of 1/${look.steps}: each is within ${(0.5 / look.steps).toFixed(4)} of the model's. Choose a head; point at a token or go to it with the arrow keys.`;
  const made = section("attention", "Attention", lead, controls, el("div", { class: "split maps" }, overview, detail));
  return { made, start: draw };
}

function choices(look, state, choose) {
  const stacks = look.stacks.map((stack, i) => ({ value: i, label: stack.name }));
  const kinds = Object.entries(KINDS).filter(([, kind]) => look.stacks[state.stack][kind.place]);
  return [
    choice("stack", stacks, state.stack, (i) => choose("stack")(Number(i))),
    choice("kind", kinds.map(([value, { label }]) => ({ value, label })), state.kind, choose("kind")),
  ];
}

/** Layers × heads of small maps; one map a layer of a rollout. */
function headGrid({ state, place, map, palette }, chosen) {
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
    const colours = palette();
    cells.forEach((cell, i) => paintSmall(cell.firstChild, map(Math.floor(i / heads), i % heads), colours));
    mark();
  };
  return { node, draw };
}

/** One head: its map with the tokens, and below where one token looks. */
function oneHead({ state, queries, keys, map, palette }) {
  const heading = el("h3", { "aria-live": "polite" });
  const canvas = el("canvas", { class: "big", role: "img" });
  const frame = el("div", { class: "scroll" }, canvas);
  const said = readout();
  const from = queries.map((text, q) => el("li", { role: "option", id: `query-${q}` }, token(text)));
  const at = keys.map((text) => el("li", {}, token(text), el("small", {})));
  let size;

  const draw = () => {
    const shown = map(state.layer, state.head);
    size = measures(shown, queries, keys, frame.clientWidth || 600);
    const name = state.kind === "rollout" ? `Layers 0 to ${state.layer} together` : `Layer ${state.layer}, head ${state.head}`;
    heading.replaceChildren(name, el("small", {}, ` ${state.kind}: ${KINDS[state.kind].says}`));
    canvas.setAttribute("aria-label", `${name}: ${queries.length} tokens by ${keys.length}; the lists below have the numbers`);
    paintBig(canvas, shown, queries, keys, size, state.query, palette());
    tell(shown);
  };
  const tell = (shown) => {
    const weights = keys.map((_, k) => shown.weight(state.query, k));
    const most = Math.max(...weights, 1e-9);
    from.forEach((item, q) => item.setAttribute("aria-selected", q === state.query));
    at.forEach((item, k) => {
      item.style.setProperty("--share", Math.sqrt(weights[k]).toFixed(3));
      item.style.setProperty("--bar", (weights[k] / most).toFixed(3));
      item.lastChild.textContent = weights[k] < 0.5 / 255 ? "0" : percent(weights[k]);
    });
    const top = weights.map((weight, k) => [weight, k]).sort((a, b) => b[0] - a[0]).slice(0, 3).filter(([weight]) => weight > 0);
    const list = top.flatMap(([weight, k], i) => [i ? ", " : "", token(keys[k]), ` ${percent(weight)}`]);
    said.replaceChildren(token(queries[state.query]), state.kind === "rollout" ? " comes from " : " looks at ", ...list);
  };
  const turn = (query) => {
    if (query === state.query || query < 0 || query >= queries.length) return;
    state.query = query;
    draw();
  };
  rove(from, 0, turn);
  canvas.addEventListener("pointermove", (event) => turn(Math.floor((event.offsetY - size.top) / size.cell)));
  const lists = [
    el("h4", { id: "from" }, "From"),
    el("ul", { class: "chips from", role: "listbox", "aria-labelledby": "from" }, ...from),
    el("h4", { id: "at" }, "To"),
    el("ul", { class: "chips at", "aria-labelledby": "at" }, ...at),
  ];
  return { nodes: [heading, frame, said, ...lists], draw };
}
