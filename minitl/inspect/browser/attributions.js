// How much of the answer each token is owed.

const METHODS = {
  "gradient × input": "how steeply the answer rises along each embedding; the shares promise no sum",
  "integrated gradients": "that slope, on the whole way from a text that says nothing",
};

function attributions(look) {
  const lead = [`What is explained: ${look.question}. Blue tokens raise it, orange ones lower it; the deeper, the more. `];
  const made = section("attributions", "Attributions", "", ...look.attributions.map((method) => oneMethod(look, method)));
  made.querySelector(".lead").replaceChildren(...lead);
  return made;
}

function oneMethod(look, { name, source, target, total, gap }) {
  const said = readout();
  const largest = Math.max(...[...source, ...(target ?? [])].map((share) => Math.abs(share ?? 0)), 1e-12);
  const lists = [source, target].flatMap((shares, side) => {
    if (!shares) return [];
    const list = oneText(look.stacks[side], shares, largest, said, `${name}, ${look.stacks[side].name || "text"}`);
    return look.stacks.length > 1 ? [el("h4", {}, side ? "target" : "source"), list] : [list];
  });
  const sum = [...source, ...(target ?? [])].reduce((all, share) => all + (share ?? 0), 0);
  const promise = total === null ? "." : `, and should come to ${number(total, 5)}: the answer for this text less that for one of masks or padding. The gap is ${number(gap, 2)}.`;
  const text = el("p", { class: "sum" }, `The shares add up to ${number(sum, 5)}${promise}`);
  return el("div", { class: "method" }, el("h3", {}, name, el("small", {}, ` ${METHODS[name] ?? ""}`)), ...lists, text, said);
}

function oneText(stack, shares, largest, said, title) {
  const items = tokensOf(stack).map((text, i) => {
    const share = shares[i] ?? 0;
    const way = share < 0 ? "lowers" : "raises";
    return el("li", { role: "option", class: way, "--share": (Math.abs(share) / largest).toFixed(3) }, text, el("small", {}, number(shares[i], 2)));
  });
  rove(items, 0, (i) => {
    items.forEach((item, j) => item.setAttribute("aria-selected", i === j));
    const part = shares[i] === null ? "" : `, ${percent(Math.abs(shares[i]) / largest)} of the largest`;
    said.replaceChildren(token(stack.tokens[i]), ` (token ${i}): ${number(shares[i], 4)}${part}`);
  });
  return el("ul", { class: "chips shares", role: "listbox", "aria-label": title }, ...items);
}
