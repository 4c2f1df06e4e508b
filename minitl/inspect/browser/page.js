// The page is put together: what stands in it as JSON and bytes, as sections.

const look = JSON.parse(document.getElementById("look").textContent);
const bytes = await unpack(document.getElementById("maps").textContent);

const heads = look.stacks[0].maps.shape[1];
const depth = look.stacks.map((stack) => stack.maps.shape[0]).join(" + ");
document.getElementById("name").replaceChildren(el("bdi", {}, look.name));
document.getElementById("what").textContent = `${look.family}, ${look.task}: ${depth} layers of ${heads} heads`;
document.getElementById("texts").replaceChildren(
  ...look.stacks.flatMap((stack) => {
    const second = stack.parts.indexOf(1);
    const tokens = tokensOf(stack).map((one) => [one, " "]);
    const lines = second < 0 ? [[stack.name, tokens]] : [[`${stack.name} first`.trim(), tokens.slice(0, second)], ["second", tokens.slice(second)]];
    return lines.map(([name, line]) => el("p", { class: "text" }, ...(name ? [el("b", {}, name)] : []), ...line.flat()));
  }),
);

const maps = attention(look, bytes);
const sections = [maps.made, predictions(look), attributions(look), layers(look), similarity(look), adapter(look), stream(look)].filter(Boolean);
document.getElementById("main").replaceChildren(...sections);
document.getElementById("sections").replaceChildren(
  ...sections.map(({ id }) => el("li", {}, el("a", { href: `#${id}` }, id))),
);
maps.start();

const toggle = document.getElementById("theme");
const preferred = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (preferred.matches ? "dark" : "light")) === "dark";
const themed = () => {
  toggle.setAttribute("aria-pressed", isDark());
  document.dispatchEvent(new Event("repaint"));
};
toggle.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  themed();
});
preferred.addEventListener("change", themed);
let waiting = 0;
addEventListener("resize", () => {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => document.dispatchEvent(new Event("repaint")));
});
themed();
