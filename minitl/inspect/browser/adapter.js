// What an adapter changed, layer by layer.

function adapter(look) {
  if (!look.changes.length) return null;
  const most = Math.max(...look.changes.map((change) => change.relative ?? 0), 1e-12);
  const largest = Math.max(...look.changes.flatMap((change) => change.singular_values), 1e-12);
  const rows = look.changes.map((change) => {
    const values = change.singular_values.map((value) => el("i", { "--bar": (value / largest).toFixed(3) }));
    const label = `singular values ${change.singular_values.map((value) => number(value, 2)).join(", ")}`;
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, el("code", {}, change.path)),
      el("td", {}, number(change.norm)),
      el("td", { class: "relative", "--bar": ((change.relative ?? 0) / most).toFixed(3) }, percent(change.relative)),
      el("td", {}, el("span", { class: "spectrum", role: "img", "aria-label": label, title: label }, ...values)),
      el("td", {}, number(change.effective_rank), el("small", {}, ` of ${change.singular_values.length}`)),
    );
  });
  const names = ["layer", "‖ΔW‖", "‖ΔW‖ / ‖W‖", "singular values of ΔW", "effective rank"];
  const head = el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)));
  const lead = "ΔW is what the adapter adds to a layer's weight W; norms are Frobenius. The effective rank says in how many directions it goes: exp of the entropy of the singular values' shares.";
  const table = el("table", { class: "changes" }, el("thead", {}, head), el("tbody", {}, ...rows));
  return section("adapter", "What the adapter changed", lead, scroller("Changes of each layer", table));
}
