// Fleet: how it stands, and every device with its newest values.

import { everywhere, get, sites } from "./api.js";
import { empty, every, failure, h, later, thead, tile } from "./dom.js";
import { ago, count, lost, number, seriesLink, short, time, waiting } from "./format.js";

const PAGE = 100;
const CHIPS = 8;

export async function show({ root, signal }) {
  const tiles = h("section", { class: "tiles", "aria-label": "Summary" });
  const search = h("input", { type: "search", placeholder: "Filter by device, site, metric or metadata", "aria-label": "Filter devices", "data-testid": "device-filter" });
  const total = h("span", { class: "muted" });
  const devices = h("div", { "data-testid": "devices" });
  root.append(tiles, h("section", { class: "card", "aria-labelledby": "devices-title" },
    h("div", { class: "card-head" }, h("h2", { id: "devices-title" }, "Devices"), total, h("span", { class: "grow" }), search), devices));

  let held = [];
  let shown = PAGE;
  const list = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = held.filter((device) => words.every((word) => device.text.includes(word)));
    total.textContent = rows.length === held.length ? count(held.length) : `${count(rows.length)} of ${count(held.length)}`;
    devices.dataset.count = rows.length;
    devices.replaceChildren(rows.length ? deviceTable(rows.slice(0, shown)) : empty(held.length ? "No device matches" : "No device has sent anything yet",
      held.length ? "Try fewer words." : "Point a sensor or a syslog sender at a gateway; it shows here within seconds."));
    if (rows.length > shown) {
      devices.append(h("p", { class: "more" }, h("button", { type: "button", onclick: () => { shown += 10 * PAGE; list(); } }, `Show more (${count(rows.length - shown)} left)`)));
    }
  };
  search.addEventListener("input", later(() => { shown = PAGE; list(); }, 120));

  const load = async () => {
    const names = await sites(signal);
    const [agents, latest, known] = await Promise.all([
      get("/v1/agents", {}, signal),
      everywhere("/v1/latest", names, {}, signal),
      everywhere("/v1/devices", names, {}, signal),
    ]);
    held = byDevice(latest, known);
    tiles.replaceChildren(...summary(agents.items, held, latest));
    list();
  };
  await load();
  let turn = 0;
  // A large fleet is asked for once a minute, a small one every ten seconds.
  every(10000, signal, () => (held.length > 2000 && ++turn % 6 ? null : load())?.catch((error) => signal.aborted || devices.replaceChildren(failure(error))));
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

function summary(agents, devices, latest) {
  const silent = agents.filter((agent) => agent.silent).length;
  const all = { waiting: sum(agents.map(waiting)), lost: sum(agents.map(lost)) };
  const unusual = latest.filter((value) => value.score > 1).length;
  return [
    tile("Gateways", count(agents.length), !agents.length ? "none heard of yet" : silent ? `${silent} silent` : "all heard of", silent ? "bad" : null, "#/gateways"),
    tile("Devices", short(devices.length), `${short(latest.length)} series`),
    tile("Unusual now", count(unusual), "newest value off its usual course", unusual ? "warn" : "ok"),
    tile("Waiting", short(all.waiting), "events in spools, safe on disk", all.waiting > 10000 ? "warn" : "ok", "#/gateways?state=behind"),
    tile("Lost", short(all.lost), all.lost ? "since the gateways started" : "nothing lost", all.lost ? "bad" : "ok", "#/losses"),
  ];
}

/** The newest values and metadata, gathered by device. */
function byDevice(latest, known) {
  const devices = new Map();
  const entry = (site, device) => {
    const key = JSON.stringify([site, device]);
    if (!devices.has(key)) devices.set(key, { site, device, values: [], meta: {}, last_us: null });
    return devices.get(key);
  };
  for (const value of latest) {
    const device = entry(value.site, value.device);
    device.values.push(value);
    device.last_us = Math.max(device.last_us ?? value.ts_us, value.ts_us);
  }
  for (const record of known) entry(record.site, record.device).meta = record.meta ?? {};
  const rows = [...devices.values()];
  for (const row of rows) {
    row.text = [row.site, row.device, ...row.values.map((value) => value.metric), ...Object.entries(row.meta).flat()].join(" ").toLowerCase();
  }
  return rows.sort((a, b) => a.site.localeCompare(b.site) || a.device.localeCompare(b.device, "en", { numeric: true }));
}

function deviceTable(rows) {
  const chip = (value) => h("a", { class: `chip${value.score > 1 ? " warn" : ""}`, href: seriesLink(value), title: `${value.metric}, ${time(value.ts_us)}${value.score === null ? "" : `, score ${number(value.score)}`}` },
    h("span", {}, value.metric), h("b", {}, number(value.value)), value.unit ? h("i", {}, value.unit) : null);
  return h("div", { class: "scroll" }, h("table", { class: "devices" },
    thead("Device", "Site", "Newest values", ["Last value"]),
    h("tbody", {}, rows.map((row) => h("tr", { "data-device": `${row.site}/${row.device}` },
      h("th", { scope: "row" }, row.device, Object.keys(row.meta).length ? h("div", { class: "meta" }, Object.entries(row.meta).map(([key, value]) => h("span", {}, `${key}=${value}`))) : null),
      h("td", {}, row.site),
      h("td", {}, h("div", { class: "chips" }, row.values.slice(0, CHIPS).map(chip), row.values.length > CHIPS ? h("a", { class: "chip", href: seriesLink(row.values[CHIPS]) }, `+${row.values.length - CHIPS}`) : null)),
      h("td", { class: "num", title: row.last_us === null ? null : time(row.last_us) }, row.last_us === null ? "–" : ago(row.last_us)))))));
}
