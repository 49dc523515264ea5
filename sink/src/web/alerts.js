// Alerts: what fires and what has been, why, and the way to the series at that time.

import { everywhere, get } from "./api.js";
import { empty, every, failure, h, svg } from "./dom.js";
import { ago, brief, count, duration, number, reason, time, zone } from "./format.js";
import { seriesLink } from "./series.js";

const LIMIT = 300;
const HOUR = 3600e6;
/** The first data of each site, and until when that is believed. */
const firsts = new Map();

/** The time from which on there can be alerts: the sites' first data, or a month ago. */
export async function oldest(sites, signal) {
  const month = Date.now() * 1000 - 30 * 24 * HOUR;
  const news = sites.filter((site) => !(firsts.get(site)?.until > Date.now()));
  const lists = await Promise.all(news.map((site) => everywhere("/v1/series", [site], {}, signal)));
  news.forEach((site, i) => firsts.set(site, {
    us: lists[i].reduce((first, { first_us }) => Math.min(first, first_us), Infinity),
    // A site without data may get some any time; the first data of others hardly change.
    until: Date.now() + (lists[i].length ? 600000 : 5000),
  }));
  return Math.round(Math.min(month, ...sites.map((site) => firsts.get(site).us)));
}

/** Where to look at what an alert is about. */
function target({ data }) {
  const end = data.resolved_us ?? data.fired_us + HOUR;
  if (data.kind === "log") {
    return [`#/logs?site=${encodeURIComponent(data.site)}&host=${encodeURIComponent(data.device)}&from=${data.fired_us - HOUR / 2}&to=${end + HOUR / 4}`, "Show the lines"];
  }
  const values = data.last_values ?? [];
  const usual = values.length > 1 ? (values[values.length - 1].ts_us - values[0].ts_us) * 4 : 2 * HOUR;
  const margin = Math.max(usual, (end - data.fired_us) * 1.5);
  return [seriesLink(data, data.fired_us - margin, end + margin / 2), "Show in the plot"];
}

/** The last values before an alert as a small line, with the usual range behind. */
function sparkline(data) {
  const values = data.last_values ?? [];
  if (values.length < 2) return null;
  const [width, height] = [180, 40];
  const base = data.baseline;
  const all = values.map((value) => value.v).concat(base ? [base.low, base.high] : []);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const first = values[0].ts_us;
  const span = values[values.length - 1].ts_us - first || 1;
  const x = (value) => 3 + ((value.ts_us - first) / span) * (width - 6);
  const y = (v) => height - 3 - ((v - low) / (high - low || 1)) * (height - 6);
  const last = values[values.length - 1];
  return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `Last ${values.length} values, from ${number(values[0].v)} to ${number(last.v)}` },
    ...(base ? [svg("rect", { class: "usual", x: 0, width, y: y(base.high), height: Math.max(1, y(base.low) - y(base.high)) })] : []),
    svg("polyline", { points: values.map((value) => `${x(value).toFixed(1)},${y(value.v).toFixed(1)}`).join(" ") }),
    svg("circle", { cx: x(last), cy: y(last.v), r: 3 }));
}

/** One alert; without its series where that is said already. */
export function alertRow(alert, named = true) {
  const { data } = alert;
  const firing = data.state === "firing";
  const [href, label] = target(alert);
  const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return h("article", { class: `alert ${data.state}`, "data-testid": "alert", "data-state": data.state, "data-alert-id": data.alert_id },
    h("div", { class: "alert-main" },
      h("div", { class: "alert-head" }, h("span", { class: `pill ${firing ? "bad" : "ok"}` }, firing ? "Firing" : "Resolved"),
        h("a", { class: "alert-name", href, title: label }, named ? [h("span", { class: "muted" }, `${data.site} / ${data.device} / `), data.metric] : time(data.fired_us))),
      h("p", { class: "why" }, reason(data.why), data.message ? h("code", {}, data.message) : null),
      h("p", { class: "muted when" }, h("time", { datetime: new Date(data.fired_us / 1000).toISOString(), title: time(data.fired_us, true) }, `${time(data.fired_us)} (${ago(data.fired_us)})`),
        firing ? ", still firing" : `, for ${duration(data.resolved_us - data.fired_us)}`)),
    sparkline(data),
    h("dl", { class: "facts" }, fact("Score", h("span", {}, h("b", { class: firing ? "bad" : null }, brief(data.score)), h("span", { class: "muted" }, ` of ${brief(data.threshold)}`))),
      data.baseline ? fact("Usual", `${brief(data.baseline.low)} … ${brief(data.baseline.high)}`) : null, fact("Model", `${data.model.name} ${data.model.version}`), fact("Gateway", data.agent)));
}

export async function show({ root, route, sites, site, signal }) {
  if (!sites.length) {
    root.append(empty("No alerts", "No site has sent anything yet."));
    return null;
  }
  const here = site();
  let state = "";
  const tabs = [["", "All"], ["firing", "Firing"], ["resolved", "Resolved"]].map(([value, name]) => h("a", { "data-state": value, href: `#/alerts?site=${encodeURIComponent(here)}${value ? `&state=${value}` : ""}` }, name));
  const list = h("div", { class: "alert-list", "data-testid": "alert-list" });
  const note = h("span", { class: "muted" });
  root.append(h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, "Alerts"), h("span", { class: "muted" }, here), h("div", { class: "seg", role: "group", "aria-label": "State" }, tabs), h("span", { class: "grow" }), note), list));
  let seen = "";
  const load = async () => {
    const from = await oldest([here], signal);
    const { items, truncated } = await get("/v1/alerts", { site: here, state, from, limit: LIMIT }, signal);
    list.dataset.count = items.length;
    note.textContent = truncated ? `the newest ${count(items.length)}, times in ${zone()}` : `${count(items.length)} in all, times in ${zone()}`;
    // What has not changed is left alone, so that focus and scrolling stay.
    const now = state + items.map((alert) => alert.id).join();
    if (now === seen) return;
    seen = now;
    list.replaceChildren(...(items.length ? items.map((alert) => alertRow(alert)) : [empty(state === "firing" ? "Nothing fires" : "No alerts", state === "firing" ? "All series run their usual course." : "When a value or a log leaves its usual course, it shows here with the reason.")]));
  };
  const open = async (to) => {
    state = to.query.get("state") ?? "";
    for (const tab of tabs) {
      if (tab.dataset.state === state) tab.setAttribute("aria-current", "true");
      else tab.removeAttribute("aria-current");
    }
    await load();
  };
  await open(route);
  every(5000, signal, () => load().catch(() => {}));
  return (to) => {
    if ((to.query.get("site") ?? here) !== here) return false;
    open(to).catch((error) => signal.aborted || list.replaceChildren(failure(error)));
    return true;
  };
}
