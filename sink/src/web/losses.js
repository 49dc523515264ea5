// Losses: what gateways lost, when, why, in which lane and which numbers; and how much in all, by gateway and cause.
//
// #/losses?days=…&agent=…

import { get } from "./api.js";
import { empty, every, failure, h, seg } from "./dom.js";
import { count, time } from "./format.js";
import { table } from "./table.js";

const DAY = 86400e6;
// Markers that are asked for: of one site at most, of a site among many at least, and of all.
const [MOST, LEAST, ALL] = [10000, 1000, 20000];
const RANGES = [["1", "24h"], ["30", "30d"], ["366", "1y"]];
const CAUSES = { receive_buffer: "the kernel dropped datagrams", spool_full: "gave way in a full spool", spool_damaged: "the disk gave back other bytes", refused: "Kafka refuses them" };

const cause = ({ reason }) => h("span", { title: reason }, CAUSES[reason] ?? reason);
const gateway = ({ agent }) => h("a", { href: `#/gateway/${encodeURIComponent(agent)}` }, agent);

/** A table of loss markers. */
export const lossTable = (signal, named = true) => table({
  id: "losses", label: "Losses", signal, sort: named ? 1 : 0, down: true, key: (row) => `${row.stream}/${row.seq}`,
  columns: [
    named && { name: "Gateway", of: (row) => row.agent, cell: gateway },
    { name: "Told", of: (row) => row.ts_us, cell: (row) => time(row.ts_us) },
    { name: "Events", num: true, of: (row) => row.count, cell: (row) => h("b", { class: "bad" }, count(row.count)) },
    { name: "Cause", of: (row) => row.reason, cell: cause },
    { name: "Lane or source", of: (row) => row.lane ?? row.source },
    { name: "Stream and numbers", of: (row) => row.range?.[1] ?? 0, cell: ({ range }) => (range ? [h("code", {}, range[0]), ` ${count(range[1])} – ${count(range[2])}`] : h("span", { class: "muted" }, "had no number")) },
  ].filter(Boolean),
});

/** The markers that count: one that is told twice names the same numbers for the same reason. */
export function once(rows) {
  const told = new Set();
  return new Set(rows.filter(({ range, reason }) => {
    const loss = range && `${range} ${reason}`;
    if (told.has(loss)) return false;
    if (range) told.add(loss);
    return true;
  }));
}

/** Losses by gateway and cause; of those that count. */
function sums(rows, counted) {
  const all = new Map();
  for (const row of rows) {
    const key = `${row.agent} ${row.reason}`;
    const one = all.get(key) ?? { key, agent: row.agent, reason: row.reason, events: 0, markers: 0, last_us: 0 };
    if (counted.has(row)) one.events += row.count;
    one.markers += 1;
    one.last_us = Math.max(one.last_us, row.ts_us);
    all.set(key, one);
  }
  return [...all.values()];
}

export async function show({ root, route, sites, signal }) {
  const totals = table({
    id: "loss-sums", label: "Losses by gateway and cause", signal, sort: 2, down: true, key: (row) => row.key,
    columns: [{ name: "Gateway", of: (row) => row.agent, cell: gateway }, { name: "Cause", of: (row) => row.reason, cell: cause }, { name: "Events", num: true, of: (row) => row.events, cell: (row) => count(row.events) }, { name: "Markers", num: true, of: (row) => row.markers, cell: (row) => count(row.markers) }, { name: "Last", of: (row) => row.last_us, cell: (row) => time(row.last_us) }],
  });
  const list = lossTable(signal);
  const note = h("span", { class: "muted", role: "status", "data-testid": "loss-note" });
  const body = h("div", { class: "view" });
  const picker = seg("Range", RANGES.map(([days, label]) => [days, label, `#/losses?days=${days}`]));
  root.append(h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, "Losses"), note, h("span", { class: "grow" }), picker.element)), body);
  const limit = Math.round(Math.min(MOST, Math.max(LEAST, ALL / sites.length)));
  let [days, seen, held, turn] = ["30", null, 0, 0];
  const load = async () => {
    const range = days;
    const from = Math.round(Date.now() * 1000 - range * DAY);
    const answers = await Promise.all(sites.map((site) => get("/v1/losses", { site, from, limit }, signal)));
    // Meanwhile another range may have been chosen.
    if (range !== days) return;
    const rows = answers.flatMap(({ items }) => items);
    const part = answers.some(({ truncated }) => truncated);
    const counted = once(rows);
    const events = [...counted].reduce((all, row) => all + row.count, 0);
    held = rows.length;
    const now = `${range} ${part} ${held} ${events} ${rows.reduce((last, row) => Math.max(last, row.ts_us), 0)}`;
    if (now === seen) return;
    seen = now;
    note.textContent = `${part ? "at least " : ""}${count(events)} events by ${count(held)} markers${part ? `, the newest ${count(limit)} of each site` : ""}`;
    body.replaceChildren(...(rows.length ? [[`By gateway and cause${part ? ", of the newest markers" : ""}`, totals], ["Markers", list]].map(([title, one]) => h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, title)), one.element)) : [empty("Nothing was lost", "What a gateway cannot keep or send it tells here, to the last event.")]));
    totals.show(sums(rows, counted));
    list.show(rows);
  };
  const open = async (to) => {
    days = RANGES.find(([value]) => value === to.query.get("days"))?.[0] ?? "30";
    picker.mark(days);
    await load();
  };
  await open(route);
  // Many are asked for once a minute, few every ten seconds.
  every(10000, signal, () => (held > 2000 && ++turn % 6 ? null : load().catch(() => {})));
  return (to) => {
    const opened = open(to);
    const range = days;
    opened.catch((error) => {
      if (signal.aborted || range !== days) return;
      seen = null;
      note.textContent = "";
      body.replaceChildren(failure(error));
    });
    return true;
  };
}
