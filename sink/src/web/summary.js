// Of the lines that are searched for: how many when, and of which templates.

import { h, pill, svg, thead } from "./dom.js";
import { SEVERITIES, ago, count, duration, loudness, short, time } from "./format.js";

const [WIDTH, HEIGHT] = [1000, 44];

/** The strip with the counts; `zoom(from, to)` and `only(template)` are called with what is chosen. */
export function summary({ zoom, only }) {
  const plot = svg("svg", { class: "bars", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "data-testid": "log-histogram", "data-count": 0 });
  const axis = h("div", { class: "axis muted", "aria-hidden": "true" });
  const title = h("summary", {});
  const body = h("tbody");
  const templates = h("details", { class: "templates", hidden: true, "data-testid": "log-templates", "data-count": "0" }, title, h("div", { class: "scroll" }, h("table", {}, thead(["Lines"], "First seen", "Worst", "App", "Newest line"), body)));

  const bar = (all, most) => ({ ts_us, n, errors }) => {
    const span = all.to_us - all.from_us || 1;
    const x = Math.max(0, (ts_us - all.from_us) / span) * WIDTH;
    const width = Math.max(1.5, (all.bin_us / span) * WIDTH - 1);
    const tall = (part) => (part / most) * HEIGHT;
    const one = (part, from, tone) => svg("rect", { class: tone, x, width, y: HEIGHT - from - Math.max(part ? 1.5 : 0, tall(part)), height: Math.max(part ? 1.5 : 0, tall(part)) });
    const group = svg("g", {}, svg("title", {}, `${time(ts_us)}, ${duration(all.bin_us)}: ${count(n)} lines, ${count(errors)} errors`), svg("rect", { class: "ground", x, width, y: 0, height: HEIGHT }), one(n - errors, tall(errors), "calm"), one(errors, 0, "bad"));
    group.addEventListener("click", () => zoom(ts_us, ts_us + all.bin_us));
    return group;
  };
  /** Whether its first line is in the last tenth of the time. */
  const isNew = (all, one) => one.first_us > all.to_us - (all.to_us - all.from_us) / 10;
  const row = (all) => (one) => {
    const text = one.template ? h("button", { type: "button", title: "Only lines of this template", onclick: () => only(one.template) }, one.message) : one.message;
    return h("tr", { "data-template": one.template }, h("td", { class: "num" }, h("b", {}, short(one.n))), h("td", { title: time(one.first_us) }, `${ago(one.first_us)} `, isNew(all, one) ? pill("new", "warn") : null), h("td", { class: loudness(one.severity) }, SEVERITIES[one.severity] ?? "–"), h("td", {}, one.app ?? ""), h("td", {}, text));
  };
  return {
    element: h("div", { class: "counts" }, plot, axis, templates),
    clear() {
      plot.replaceChildren();
      plot.setAttribute("data-count", 0);
      templates.hidden = true;
    },
    show(all) {
      const most = Math.max(1, ...all.bins.map((bin) => bin.n));
      plot.replaceChildren(...all.bins.map(bar(all, most)));
      plot.setAttribute("data-count", all.n);
      plot.setAttribute("aria-label", `${count(all.n)} lines from ${time(all.from_us)} to ${time(all.to_us)}, at most ${count(most)} in ${duration(all.bin_us)}`);
      axis.replaceChildren(h("span", {}, time(all.from_us)), h("span", {}, `${all.truncated ? "newest " : ""}${count(all.n)} lines`), h("span", {}, time(all.to_us)));
      const fresh = all.templates.filter((one) => isNew(all, one)).length;
      title.textContent = `${count(all.templates_n)} templates, ${count(fresh)} new in the last tenth`;
      templates.hidden = !all.templates.length;
      templates.dataset.count = all.templates_n;
      body.replaceChildren(...all.templates.map(row(all)));
    },
  };
}
