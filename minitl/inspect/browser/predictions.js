// What the model would say if it stopped after each layer.

function predictions(look) {
  const title = "Predictions after each layer";
  if (!look.guesses) return section("predictions", title, `Not shown: ${look.unread}.`);
  const { through, stack, words, probabilities } = look.guesses;
  const tokens = look.stacks[stack].tokens;
  const names = words.map((_, layer) => (layer ? `${layer - 1}` : "in"));
  const last = words.at(-1);
  const said = readout();
  const cell = (layer, t) => {
    const [word, sure] = [words[layer][t][0], probabilities[layer][t][0]];
    const settled = word === last[t][0];
    const label = `${word}, ${percent(sure)}${settled ? ", as at the end" : ""}`;
    return el("td", { class: settled ? "settled" : "", "aria-label": label, "--share": Math.sqrt(sure ?? 0).toFixed(3) }, token(word));
  };
  const show = (layer, t) => {
    const place = el("p", {}, layer ? `After layer ${layer - 1}` : "Before the first layer", ", at ", token(tokens[t]), ` (token ${t})`);
    const items = words[layer][t].map((word, i) => {
      const sure = probabilities[layer][t][i];
      return el("li", { "--bar": sure ?? 0 }, token(word), el("small", {}, percent(sure)));
    });
    said.replaceChildren(place, el("ol", { class: "bars" }, ...items));
  };
  const table = tokenTable("The likeliest token after each layer", look.stacks[stack], names, cell, show);
  show(words.length - 1, tokens.length - 1);
  const lead = `The states after each layer, read through ${through} (logit lens). A cell is the likeliest token: at its own place for a model that fills in, the next one for a model that writes. “in” is what the first layer reads. The shade is the probability; in bold, what the last layer says, too.`;
  return section("predictions", title, lead, el("div", { class: "split" }, table, said));
}
