// Losses: what gateways lost, when, why, in which lane and which numbers; and how much in all, by gateway and cause.
//
// #/losses?days=…&agent=…

import { everywhere } from "./api.js";
import { empty, every, h, seg } from "./dom.js";
import { count, time } from "./format.js";
import { table } from "./table.js";

const DAY = 86400e6;
const LIMIT = 10000;
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

/** Losses by gateway and cause. */
function sums(rows) {
  const all = new Map();
  for (const row of rows) {
    const key = `${row.agent} ${row.reason}`;
    const one = all.get(key) ?? { key, agent: row.agent, reason: row.reason, events: 0, markers: 0, last_us: 0 };
    one.events += row.count;
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
  let days = "30";
  let seen = null;
  const load = async () => {
    const rows = await everywhere("/v1/losses", sites, { from: Math.round(Date.now() * 1000 - days * DAY), limit: LIMIT }, signal);
    const now = `${days} ${rows.length} ${rows[0]?.ts_us}`;
    if (now === seen) return;
    seen = now;
    const events = rows.reduce((all, row) => all + row.count, 0);
    note.textContent = `${count(events)} events by ${count(rows.length)} markers${rows.length >= LIMIT ? ", the newest" : ""}`;
    body.replaceChildren(...(rows.length ? [["By gateway and cause", totals], ["Markers", list]].map(([title, one]) => h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, title)), one.element)) : [empty("Nothing was lost", "What a gateway cannot keep or send it tells here, to the last event.")]));
    totals.show(sums(rows));
    list.show(rows);
  };
  const open = async (to) => {
    days = RANGES.find(([value]) => value === to.query.get("days"))?.[0] ?? "30";
    picker.mark(days);
    await load();
  };
  await open(route);
  every(10000, signal, () => load().catch(() => {}));
  return (to) => {
    open(to).catch(() => {});
    return true;
  };
}
