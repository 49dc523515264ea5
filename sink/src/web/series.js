// Series: one series as a plot with its anomalies, its numbers, and the alerts in view.
//
// #/series/SITE/DEVICE/METRIC?from=…&to=…&with=SITE/DEVICE/METRIC (microseconds). Without a range it follows the newest data:
// what was recorded years ago is shown where it is, not where now is.

import { everywhere, get } from "./api.js";
import { csv, png, save, values } from "./data.js";
import { empty, every, failure, h, later, timeField } from "./dom.js";
import { count, duration, number, pathOf, seriesLink, time, typedTime, zone } from "./format.js";
import { alertRow } from "./alerts.js";
import { draw, ready } from "./plot.js";

const HOUR = 3600e6;
const RANGES = [["1h", HOUR], ["6h", 6 * HOUR], ["24h", 24 * HOUR], ["7d", 168 * HOUR], ["30d", 720 * HOUR], ["1y", 8766 * HOUR], ["All", null]];

/** The names in a path; none when it is not one of ours. */
function named(path) {
  try {
    return (path ?? "").split("/").map(decodeURIComponent);
  } catch {
    return [];
  }
}

const same = (a, b) => a && b && a.site === b.site && a.device === b.device && a.metric === b.metric;

export async function show({ root, route, sites, signal }) {
  const [known] = await Promise.all([everywhere("/v1/series", sites, {}, signal), ready()]);
  if (!known.length) {
    root.append(empty("No series yet", "As soon as a gateway sends readings, they show here."));
    return null;
  }
  const side = sidebar(known);
  const body = h("section", { class: "card series-card" });
  root.append(side.element, body);
  let view = null;
  const open = (to) => {
    const [site, device, metric] = to.parts;
    const asked = metric !== undefined ? { site, device, metric } : known.find((series) => !site || series.site === site) ?? known[0];
    const series = known.find((candidate) => same(candidate, asked));
    side.mark(asked);
    if (!same(view?.key, asked)) {
      view?.stop();
      view = null;
      if (!series) {
        body.replaceChildren(empty("There is no such series", `${asked.site} / ${asked.device} / ${asked.metric} has never sent a value.`));
        return true;
      }
      view = seriesView(body, series, known, signal);
    }
    const number = (name) => (to.query.get(name) ? Number(to.query.get(name)) : null);
    view?.range(number("from"), number("to"), to.query.get("last"), to.query.get("with"));
    return true;
  };
  open(route);
  return open;
}

function sidebar(known) {
  const search = h("input", { type: "search", placeholder: "Find a series", "aria-label": "Find a series", "data-testid": "series-filter" });
  const list = h("div", { class: "series-list", "data-testid": "series-list" });
  let marked = null;
  const fill = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = known.filter((series) => words.every((word) => `${series.site} ${series.device} ${series.metric}`.toLowerCase().includes(word)));
    list.dataset.count = rows.length;
    let group = null;
    const nodes = [];
    for (const series of rows.slice(0, 500)) {
      const name = `${series.site} / ${series.device}`;
      if (name !== group) nodes.push(h("div", { class: "group" }, name));
      group = name;
      nodes.push(h("a", { href: seriesLink(series), "aria-current": same(series, marked) ? "true" : null }, h("span", {}, series.metric), series.unit ? h("i", {}, series.unit) : null));
    }
    if (rows.length > 500) nodes.push(h("p", { class: "muted" }, `${count(rows.length - 500)} more: type to find them`));
    list.replaceChildren(...nodes);
  };
  search.addEventListener("input", later(fill, 120));
  const wide = matchMedia("(min-width: 900px)").matches;
  const element = h("details", { class: "card side", open: wide },
    h("summary", {}, h("h2", {}, "Series"), h("span", { class: "muted" }, count(known.length))), search, list);
  return {
    element,
    mark(series) {
      const before = marked;
      marked = series;
      if (same(before, series)) return;
      fill();
      if (!matchMedia("(min-width: 900px)").matches && before) element.open = false;
      list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
    },
  };
}

function seriesView(body, series, known, outer) {
  const key = { site: series.site, device: series.device, metric: series.metric };
  const stop = new AbortController();
  outer.addEventListener("abort", () => stop.abort());
  let loading = new AbortController();
  let drawn = null;
  let last = null;
  let range = { from: 0, to: 0, last: null };

  let other = null;
  const address = (link) => { location.hash = other ? `${link}${link.includes("?") ? "&" : "?"}with=${encodeURIComponent(pathOf(other))}` : link; };
  const go = (from, to) => {
    const least = 1000;
    const middle = (from + to) / 2;
    if (to - from < least) [from, to] = [middle - least / 2, middle + least / 2];
    address(seriesLink(key, from, to));
  };
  const zoom = (factor) => {
    const half = ((range.to - range.from) * factor) / 2;
    const middle = (range.from + range.to) / 2;
    go(middle - half, middle + half);
  };
  const pan = (part) => {
    const by = (range.to - range.from) * part;
    go(range.from + by, range.to + by);
  };
  const all = () => address(`${seriesLink(key)}?last=All`);

  const buttons = RANGES.map(([name]) => h("button", { type: "button", "data-range": name, "aria-pressed": "false", onclick: () => address(`${seriesLink(key)}?last=${name}`) }, name));
  const step = (label, sign, work) => h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick: work }, sign);
  const [from, to] = ["From", "To"].map((name) => timeField(name, typedTime));
  const free = () => {
    const [a, b] = [typedTime(from.value), typedTime(to.value)];
    if (a !== null && b !== null && a < b) go(a, b);
  };
  from.addEventListener("change", free);
  to.addEventListener("change", free);
  const pick = comparePicker(series, known, (chosen) => {
    other = chosen;
    if (range.following) address(`${seriesLink(key)}?last=${range.last}`);
    else go(range.from, range.to);
  });
  const shown = () => [{ key, unit: series.unit, readings: last.readings }, ...(last.other ? [{ key: other, unit: other.unit, readings: last.other.readings }] : [])];
  const name = () => `${key.site}-${key.device}-${key.metric}-${time(range.from)}`;
  const saveCsv = () => last && save(`${name()}.csv`, new Blob([csv(shown())], { type: "text/csv" }));
  const savePng = async () => {
    if (!last) return;
    const title = `${shown().map(({ key: of, unit }) => `${of.site} / ${of.device} / ${of.metric}${unit ? ` (${unit})` : ""}`).join("   and   ")}   ${time(range.from)} to ${time(range.to)}, ${zone()}`;
    save(`${name()}.png`, await png(plot, title));
  };
  const spoken = h("p", { class: "sr", role: "status", "data-testid": "series-spoken" });
  const stats = h("dl", { class: "stats", "data-testid": "series-stats" });
  const plot = h("div", { class: "plot", tabindex: "0", role: "img", "data-testid": "series-plot", "data-count": "0" },
    h("div", { class: "readout", "aria-hidden": "true" }), h("div", { class: "plot-main" }), h("div", { class: "score-label" }, "Score: above 1 leaves the usual course"), h("div", { class: "plot-score" }));
  const note = h("p", { class: "muted plot-note" });
  const alertList = h("div", { "data-testid": "series-alerts", "data-count": "0" });
  body.replaceChildren(
    h("div", { class: "card-head" }, h("div", {}, h("div", { class: "crumbs" }, `${key.site} / ${key.device}`), h("h1", {}, key.metric, series.unit ? h("i", {}, series.unit) : null)), h("span", { class: "grow" }), stats),
    h("div", { class: "bar" }, h("div", { class: "seg", role: "group", "aria-label": "Range" }, buttons),
      h("div", { class: "seg", role: "group", "aria-label": "Move" }, step("Back", "↶", () => history.back()), step("Earlier", "←", () => pan(-0.5)), step("Later", "→", () => pan(0.5)), step("Zoom in", "+", () => zoom(0.5)), step("Zoom out", "−", () => zoom(2))),
      pick.element, h("div", { class: "seg", role: "group", "aria-label": "Save" }, h("button", { type: "button", "data-testid": "series-csv", onclick: saveCsv, title: "What is shown as a table" }, "CSV"), h("button", { type: "button", "data-testid": "series-png", onclick: savePng, title: "What is shown as a picture" }, "PNG")),
      h("span", { class: "grow" }), h("div", { class: "free" }, from, h("span", { "aria-hidden": "true" }, "–"), to)),
    plot, spoken, note, h("h2", { class: "sub" }, "Alerts in this range"), alertList);
  const walk = (by) => { spoken.textContent = drawn?.walk(by) ?? ""; };
  plot.addEventListener("keydown", (event) => {
    const work = { ArrowLeft: () => (event.shiftKey ? walk(-1) : pan(-0.25)), ArrowRight: () => (event.shiftKey ? walk(1) : pan(0.25)), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), _: () => zoom(2), 0: all, Backspace: () => history.back() }[event.key];
    if (!work || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    work();
  });

  const paint = () => {
    if (!last) return;
    drawn?.destroy();
    drawn = draw(plot, { ...last, unit: series.unit, on: { zoom: go, reset: all } });
  };
  async function load() {
    loading.abort();
    loading = new AbortController();
    const signal = AbortSignal.any([stop.signal, loading.signal]);
    const points = Math.max(100, Math.min(2000, Math.round(plot.clientWidth || 800)));
    const beside = other;
    const [readings, second, alerts] = await Promise.all([
      values(key, range.from, range.to, points, signal),
      beside && values({ site: beside.site, device: beside.device, metric: beside.metric }, range.from, range.to, points, signal),
      // An alert that fired before the range may last into it: look back as far again.
      get("/v1/alerts", { ...key, from: Math.max(range.from - (range.to - range.from), Math.min(series.first_us, range.from)), to: range.to, limit: 500 }, signal),
    ]);
    const within = alerts.items.filter(({ data }) => (data.resolved_us ?? Infinity) >= range.from);
    const anomalies = readings.bins.length ? readings.anomalies : readings.points.filter((point) => point.score > 1);
    last = { readings, alerts: within, anomalies, other: beside && { readings: second, unit: beside.unit, name: `${beside.device} / ${beside.metric}` } };
    paint();
    const span = duration(range.to - range.from);
    plot.dataset.count = readings.n;
    plot.dataset.anomalies = readings.anomalies_n;
    plot.dataset.alerts = within.length;
    plot.dataset.other = second?.n ?? "";
    plot.dataset.form = readings.rollups ? "rollups" : readings.bin_us ? "bins" : "values";
    plot.setAttribute("aria-label", `${key.metric} of ${key.device} over ${span}: ${readings.n} values, ${readings.anomalies_n} anomalies, ${within.length} alerts${second ? `; beside it ${second.n} values of ${beside.metric} of ${beside.device}` : ""}. Arrow keys move, with Shift from value to value; plus and minus zoom, Backspace goes back, 0 shows all.`);
    if (!range.following) spoken.textContent = `${readings.n} values, ${readings.anomalies_n} anomalies, ${within.length} alerts over ${span}`;
    fillStats(stats, readings);
    const form = readings.bin_us ? `Mean and extremes per ${duration(readings.bin_us)}` : "Every value";
    note.textContent = readings.n === 0
      ? `No value in these ${span}. The newest is of ${time(series.last_us)}: press All to see everything.`
      : `${form}, ${span}, ${zone()}. Drag to zoom, double-click for all.${readings.truncated ? ` Only the first ${count(readings.n)} values are shown: choose a shorter range.` : ""}`;
    alertList.dataset.count = within.length;
    alertList.replaceChildren(...(within.length ? within.slice(0, 50).map((alert) => alertRow(alert, false)) : [h("p", { class: "muted" }, "None.")]));
  }
  const tryLoad = () => load().catch((error) => {
    if (stop.signal.aborted || error.name === "AbortError") return;
    alertList.replaceChildren(failure(error));
  });

  const refit = later(() => drawn?.resize(), 60);
  window.addEventListener("resize", refit, { signal: stop.signal });
  window.addEventListener("themechange", paint, { signal: stop.signal });
  every(10000, stop.signal, () => { if (range.following) follow(range.last).then(tryLoad); });

  /** The range that ends with the newest data: now, or where the data ended. */
  async function follow(name) {
    const newest = await get("/v1/series", { site: key.site, device: key.device }, stop.signal).catch(() => ({ items: [] }));
    Object.assign(series, newest.items.find((candidate) => same(candidate, key)) ?? {});
    const now = Date.now() * 1000;
    const span = series.last_us - series.first_us;
    const recent = now - series.last_us < 24 * HOUR;
    const chosen = RANGES.find(([candidate]) => candidate === name) ?? (recent && span > 24 * HOUR ? RANGES[2] : RANGES[6]);
    const [label, length] = chosen;
    const margin = Math.max((length ?? span) * 0.01, 1e6);
    const end = length !== null && now - series.last_us < length ? now : series.last_us + margin;
    range = { from: length === null ? series.first_us - margin : end - length, to: end, last: label, following: true };
    press();
  }
  function press() {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.range === range.last));
    if (document.activeElement !== from) from.value = time(range.from);
    if (document.activeElement !== to) to.value = time(range.to);
  }
  return {
    key,
    async range(from_us, to_us, name, beside) {
      const [site, device, metric] = named(beside);
      other = known.find((candidate) => same(candidate, { site, device, metric })) ?? null;
      pick.show(other);
      if (Number.isFinite(from_us) && Number.isFinite(to_us) && from_us !== null && to_us !== null && from_us < to_us) {
        range = { from: Math.round(from_us), to: Math.round(to_us), last: null, following: false };
        press();
      } else {
        await follow(name);
      }
      range.from = Math.round(range.from);
      range.to = Math.round(range.to);
      await tryLoad();
    },
    stop() {
      stop.abort();
      drawn?.destroy();
    },
  };
}

/** A list of series to compare with, those of the device and of the metric first. */
function comparePicker(series, known, on) {
  const rank = (one) => (one.site === series.site && one.device === series.device ? 0 : one.metric === series.metric ? 1 : 2);
  const some = known.filter((one) => !same(one, series)).sort((a, b) => rank(a) - rank(b)).slice(0, 500);
  const option = (one) => h("option", { value: pathOf(one) }, `${one.site === series.site ? "" : `${one.site} / `}${one.device} / ${one.metric}`);
  const element = h("select", { class: "compare", "aria-label": "Compare with", "data-testid": "series-compare", hidden: !some.length }, h("option", { value: "" }, "Compare with…"), some.map(option));
  element.addEventListener("change", () => on(some.find((one) => pathOf(one) === element.value) ?? null));
  return {
    element,
    show(other) {
      if (other && !some.includes(other)) element.append(option(some[some.push(other) - 1]));
      element.value = other ? pathOf(other) : "";
    },
  };
}

function fillStats(stats, readings) {
  const rows = readings.bins.length ? readings.bins : readings.points.map((point) => ({ n: 1, min: point.value, max: point.value, mean: point.value }));
  const all = rows.reduce((sum, row) => ({ n: sum.n + row.n, min: Math.min(sum.min, row.min), max: Math.max(sum.max, row.max), total: sum.total + row.mean * row.n }), { n: 0, min: Infinity, max: -Infinity, total: 0 });
  const stat = (name, value, tone) => h("div", { class: tone ?? null }, h("dt", {}, name), h("dd", {}, value));
  stats.replaceChildren(stat("Min", number(all.min)), stat("Mean", number(all.total / all.n)), stat("Max", number(all.max)), stat("Values", count(readings.n)),
    stat("Anomalies", count(readings.anomalies_n), readings.anomalies_n ? "bad" : null));
}
