// Where the answer is made: the attribution layer by layer.

/** "encoder.layers.3.residual.post" as a row is called: "encoder 3", and "in" what the first layer reads. */
function cutName(name) {
  const stack = name.includes("code") ? `${name.slice(0, 7)} ` : "";
  return `${stack}${name.endsWith("pre") ? "in" : name.match(/layers\.(\d+)/)[1]}`;
}

function layers(look) {
  const last = look.byLayer.at(-1);
  const lead = `The same answer, owed to the states between layers: integrated gradients of the residual stream. Each row adds up to ${number(last.total, 4)}. At the bottom, the answer lies where its words stand; further up, in the states into which layers have carried it; at the top, where the head reads it.`;
  const largest = Math.max(...look.byLayer.flatMap(({ source, target }) => [...source, ...(target ?? [])]).map((share) => Math.abs(share ?? 0)), 1e-12);
  const digits = Math.max(0, Math.min(8, 1 - Math.floor(Math.log10(largest)))); // two of the largest share's
  const sides = ["source", "target"].filter((side) => last[side]);
  const tables = sides.flatMap((side, i) => {
    const heading = sides.length > 1 ? [el("h4", {}, side)] : [];
    return [...heading, ...sharesByLayer(look.byLayer, side, look.stacks[i], largest, digits)];
  });
  return section("layers", "Where the answer is made", lead, el("div", { class: "tables" }, ...tables));
}

function sharesByLayer(cuts, side, stack, largest, digits) {
  const said = readout();
  const cell = (row, t) => {
    const share = cuts[row][side][t];
    return el("td", { class: `number ${share < 0 ? "lowers" : "raises"}`, "--share": (Math.abs(share ?? 0) / largest).toFixed(3) }, share === null ? "–" : share.toFixed(digits).replace("-", "−"));
  };
  const show = (row, t) => {
    const { name, gap } = cuts[row];
    said.replaceChildren(token(stack.tokens[t]), ` (token ${t}), `, el("code", {}, name), `: ${number(cuts[row][side][t], 4)}; the row's sum is ${number(gap, 2)} off`);
  };
  return [tokenTable(`Shares of the answer by layer, ${side}`, stack, cuts.map(({ name }) => cutName(name)), cell, show), said];
}
