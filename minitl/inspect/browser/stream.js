// The residual stream: what its shapes are, and which line of code made them.

function stream(look) {
  const rows = look.points.map(({ name, shape, line, code }) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("code", {}, name)),
      el("td", {}, el("code", {}, `[${shape.join(", ")}]`)),
      el("td", {}, el("code", { class: "line" }, code), el("small", {}, `minitl/${line}`)),
    ),
  );
  const head = el("tr", {}, ...["point", "shape", "made by"].map((name) => el("th", { scope: "col" }, name)));
  const lead = "In the order in which a text meets them, with the names under which minitl.trace records and changes them; layers that run the same line are one row.";
  const table = el("table", { class: "stream" }, el("thead", {}, head), el("tbody", {}, ...rows));
  return section("stream", "The residual stream", lead, table);
}
