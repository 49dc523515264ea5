// Alerts: what fires and what has been, why, and the way to the series at that time.

import { describes, get, oldest, send } from "./api.js";
import { empty, every, failure, h, pill, seg, svg } from "./dom.js";
import { ago, brief, count, duration, number, reason, seriesLink, time, zone } from "./format.js";

const LIMIT = 300;
const HOUR = 3600e6;
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

const VERDICTS = [["true", "True alarm", "a true alarm"], ["false", "False alarm", "a false alarm"], ["expected", "Expected", "expected"]];
const FEEDBACK = "/v1/alerts/{id}/feedback";

/** What a person says of an alert; nothing where the sink does not ask. */
function feedback({ data, feedback: before }) {
  const name = (verdict) => VERDICTS.find(([value]) => value === verdict)?.[2] ?? verdict;
  const said = h("span", { class: "muted", role: "status" }, before ? `Marked as ${[name(before.verdict), before.note, before.by].filter(Boolean).join(", ")}` : "");
  const note = h("input", { placeholder: "Note", "aria-label": "Note on this alert", maxlength: 500 });
  const say = async (verdict) => {
    said.textContent = "Sending…";
    try {
      await send(FEEDBACK.replace("{id}", encodeURIComponent(data.alert_id)), { site: data.site, fired_us: data.fired_us }, { verdict, ...(note.value && { note: note.value }) });
      said.textContent = `Marked as ${name(verdict)}`;
      note.value = "";
    } catch (error) {
      said.textContent = error.message;
    }
  };
  const element = h("div", { class: "feedback", hidden: true, "data-testid": "feedback" }, h("div", { class: "seg", role: "group", "aria-label": "What is it?" }, VERDICTS.map(([verdict, label]) => h("button", { type: "button", "data-verdict": verdict, onclick: () => say(verdict) }, label))), note, said);
  describes(FEEDBACK).then((does) => { element.hidden = !does; });
  return element;
}

/** One alert; without its series where that is said already. */
export function alertRow(alert, named = true) {
  const { data } = alert;
  const firing = data.state === "firing";
  const [href, label] = target(alert);
  const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return h("article", { class: `alert ${data.state}`, "data-testid": "alert", "data-state": data.state, "data-alert-id": data.alert_id },
    h("div", { class: "alert-main" },
      h("div", { class: "alert-head" }, firing ? pill("Firing", "bad") : pill("Resolved", "ok"),
        h("a", { class: "alert-name", href, title: label }, named ? [h("span", { class: "muted" }, `${data.site} / ${data.device} / `), data.metric] : time(data.fired_us))),
      h("p", { class: "why" }, reason(data.why), data.message ? h("code", {}, data.message) : null),
      h("p", { class: "muted when" }, h("time", { datetime: new Date(data.fired_us / 1000).toISOString(), title: time(data.fired_us, true) }, `${time(data.fired_us)} (${ago(data.fired_us)})`),
        firing ? ", still firing" : `, for ${duration(data.resolved_us - data.fired_us)}`)),
    sparkline(data),
    h("dl", { class: "facts" }, fact("Score", h("span", {}, h("b", { class: firing ? "bad" : null }, brief(data.score)), h("span", { class: "muted" }, ` of ${brief(data.threshold)}`))),
      data.baseline ? fact("Usual", `${brief(data.baseline.low)} … ${brief(data.baseline.high)}`) : null, fact("Model", `${data.model.name} ${data.model.version}`), fact("Gateway", data.agent)), feedback(alert));
}

export async function show({ root, route, sites, site, signal }) {
  if (!sites.length) {
    root.append(empty("No alerts", "No site has sent anything yet."));
    return null;
  }
  const here = site();
  let state = "";
  const tabs = seg("State", [["", "All"], ["firing", "Firing"], ["resolved", "Resolved"]].map(([value, name]) => [value, name, `#/alerts?site=${encodeURIComponent(here)}${value ? `&state=${value}` : ""}`]));
  const list = h("div", { class: "alert-list", "data-testid": "alert-list" });
  const note = h("span", { class: "muted" });
  root.append(h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, "Alerts"), h("span", { class: "muted" }, here), tabs.element, h("span", { class: "grow" }), note), list));
  let seen = "";
  const rows = new Map();
  /** A row as it is, as long as the alert is the same or somebody is at it. */
  const row = (alert) => {
    const now = `${alert.id} ${alert.feedback?.given_us}`;
    const known = rows.get(alert.data.alert_id);
    const busy = known && (known.element.contains(document.activeElement) || known.element.querySelector("input")?.value);
    if (busy && known.now !== now) seen = "";
    if (busy || known?.now === now) return known.element;
    rows.set(alert.data.alert_id, { now, element: alertRow(alert) });
    return rows.get(alert.data.alert_id).element;
  };
  /** Shows these; what is there already does not move. */
  const arrange = (elements) => {
    for (const child of [...list.children]) if (!elements.includes(child)) child.remove();
    elements.forEach((element, i) => list.children[i] === element || list.insertBefore(element, list.children[i] ?? null));
  };
  const load = async () => {
    const from = await oldest([here], signal);
    const { items, truncated } = await get("/v1/alerts", { site: here, state, from, limit: LIMIT }, signal);
    list.dataset.count = items.length;
    note.textContent = truncated ? `the newest ${count(items.length)}, times in ${zone()}` : `${count(items.length)} in all, times in ${zone()}`;
    // What has not changed is left alone, so that focus and scrolling stay.
    const now = state + items.map((alert) => `${alert.id} ${alert.feedback?.given_us}`).join();
    if (now === seen) return;
    seen = now;
    const ids = new Set(items.map((alert) => alert.data.alert_id));
    for (const id of rows.keys()) if (!ids.has(id)) rows.delete(id);
    arrange(items.length ? items.map(row) : [empty(state === "firing" ? "Nothing fires" : "No alerts", state === "firing" ? "All series run their usual course." : "When a value or a log leaves its usual course, it shows here with the reason.")]);
  };
  const open = async (to) => {
    state = to.query.get("state") ?? "";
    tabs.mark(state);
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
