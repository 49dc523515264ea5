// Tables that are sorted by their heads; of many rows only those in sight are in the document.

import { h } from "./dom.js";

const order = new Intl.Collator("en", { numeric: true }).compare;
const ROUND = 20;

/**
 * A table. A column has a `name`, `of(row)` to sort by and `cell(row)` to show (what it sorts by, where left out); with `num` it is
 * to the right. The first one holds the link of a row. `sort` is the column that sorts at first, `down` whether from the greatest on.
 */
export function table({ id, label, columns, key, signal, sort = 0, down = false }) {
  let [rows, by, least, height, from, held] = [[], sort, !down, 37, -1, null];
  const heads = columns.map(({ name, num }, i) => h("th", { scope: "col", class: num ? "num" : null }, h("button", { type: "button", onclick: () => { least = i === by ? !least : !num; by = i; show(rows); } }, name)));
  const body = h("tbody");
  // It has the focus while the row that has it is out of sight.
  const element = h("table", { tabindex: -1, onpointerdown: () => { held = null; }, "aria-label": label, "data-testid": id, "data-count": "0" }, h("thead", {}, h("tr", {}, heads)), body);
  const gap = (n) => {
    if (n <= 0) return null;
    const cell = h("td", { colspan: columns.length });
    cell.style.height = `${n * height}px`;
    return h("tr", { class: "gap", "aria-hidden": "true" }, cell);
  };
  const line = (row, i) => h("tr", { "aria-rowindex": i + 2, "data-key": key(row) }, columns.map(({ of, cell = of, num }, at) => h(at ? "td" : "th", { scope: at ? null : "row", class: num ? "num" : null }, cell(row))));
  const focus = (name) => {
    held = name;
    (body.querySelector(`[data-key="${CSS.escape(name)}"] a`) ?? element).focus({ preventScroll: true });
  };
  const focused = (at) => (at === element ? held : body.contains(at) && at.closest("tr").dataset.key);
  const paint = (anew) => {
    const above = -body.getBoundingClientRect().top;
    const start = Math.max(0, Math.min(Math.floor(above / height / ROUND) - 1, Math.floor(rows.length / ROUND) - 1) * ROUND);
    if (start === from && !anew) return;
    from = start;
    const end = Math.min(rows.length, start + Math.ceil(innerHeight / height) + 3 * ROUND);
    const name = focused(document.activeElement);
    body.replaceChildren(...[gap(start), ...rows.slice(start, end).map((row, i) => line(row, start + i)), gap(rows.length - end)].filter(Boolean));
    if (name) focus(name);
  };
  const show = (some) => {
    const { of } = columns[by];
    const value = new Map(some.map((row) => [row, of(row)]));
    rows = [...some].sort((a, b) => {
      const [x, y] = [value.get(a), value.get(b)];
      return (typeof x === "string" ? order(x, y) : (x ?? -Infinity) - (y ?? -Infinity)) * (least ? 1 : -1) || order(key(a), key(b));
    });
    heads.forEach((head, i) => (i === by ? head.setAttribute("aria-sort", least ? "ascending" : "descending") : head.removeAttribute("aria-sort")));
    element.dataset.count = rows.length;
    element.setAttribute("aria-rowcount", rows.length + 1);
    paint(true);
    const seen = body.querySelector("[data-key]")?.offsetHeight;
    if (seen && seen !== height) {
      height = seen;
      paint(true);
    }
  };
  element.addEventListener("keydown", (event) => {
    const name = focused(event.target);
    const at = rows.findIndex((row) => key(row) === name);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 15, PageUp: at - 15, Home: 0, End: rows.length - 1 }[event.key];
    if (at < 0 || to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(rows.length - 1, to));
    const top = body.getBoundingClientRect().top + next * height;
    if (top < 60 || top > innerHeight - 2 * height) window.scrollBy(0, top - innerHeight / 2);
    paint();
    focus(key(rows[next]));
  });
  for (const event of ["scroll", "resize"]) window.addEventListener(event, () => paint(), { passive: true, signal });
  return { element: h("div", { class: "scroll" }, element), show };
}
