// How alike the layers are, and how far each layer turns each token.

function similarity(look) {
  const lead = "Left: how alike the states of two layers are over the tokens of this text (linear CKA, 1 = the same up to rotation and scale). Right: how far each layer turns each token's vector, 1 − cosine.";
  return section("similarity", "Similarity of layers", lead, ...look.stacks.map(oneStack));
}

function oneStack(stack) {
  const heading = stack.name ? [el("h3", {}, stack.name)] : [];
  const said = readout();
  const turned = stack.cosines.map((row) => row.map((cosine) => (cosine === null ? null : 1 - cosine)));
  const most = Math.max(...turned.flat().map((x) => x ?? 0), 1e-9);
  const cell = (layer, t) => {
    const x = turned[layer][t];
    return el("td", { class: "number", "--share": ((x ?? 0) / most).toFixed(3) }, hundredths(x));
  };
  const show = (layer, t) =>
    said.replaceChildren(`Layer ${layer} turns `, token(stack.tokens[t]), ` (token ${t}) by 1 − cosine = ${number(turned[layer][t], 3)}`);
  const label = `1 − cosine of each token's vector before and after each layer${stack.name ? `, ${stack.name}` : ""}`;
  const names = turned.map((_, layer) => `${layer}`);
  const table = tokenTable(label, stack, names, cell, show);
  return el("div", { class: "stack" }, ...heading, el("div", { class: "split alike" }, ckaTable(stack), el("div", { class: "tables" }, table, said)));
}

const hundredths = (x) => (x === null ? "–" : x.toFixed(2).replace(/^(-?)0\./, "$1."));

function ckaTable({ alike, name }) {
  const names = alike.map((_, layer) => (layer ? `${layer - 1}` : "in"));
  const head = el("tr", {}, el("th", { scope: "col" }, ""), ...names.map((one) => el("th", { scope: "col" }, one)));
  const least = Math.min(...alike.flat().map((x) => x ?? 1));
  const rows = alike.map((row, i) => {
    const cells = row.map((x) => el("td", { class: "number", "--share": (((x ?? 0) - least) / (1 - least || 1)).toFixed(3) }, hundredths(x)));
    return el("tr", {}, el("th", { scope: "row" }, names[i]), ...cells);
  });
  const caption = el("caption", {}, `CKA${name ? `, ${name}` : ""}; “in” is what the first layer reads. The shade goes from ${hundredths(least)} to 1.`);
  return el("div", { class: "scroll" }, el("table", { class: "cka" }, caption, el("thead", {}, head), el("tbody", {}, ...rows)));
}
