// Archive: what lies there by day and by partition, how far it is behind Kafka, and what audits found.

import { get } from "./api.js";
import { empty, every, h, pill, thead, tile } from "./dom.js";
import { ago, bytes, count, duration, short, time } from "./format.js";
import { table } from "./table.js";

const number = (n) => (n === null || n === undefined ? h("span", { class: "muted" }, "–") : count(n));
/** Records in Kafka that are not in store and archive. */
const behind = ({ end, committed }) => (end === null ? null : Math.max(0, end - (committed ?? 0)));
const whole = ({ from_us, to_us }) => from_us === null && to_us === null;
/** What an audit judged. */
const scope = (audit) => `${whole(audit) ? "all" : `${audit.from_us === null ? "the beginning" : time(audit.from_us)} to ${audit.to_us === null ? "the end" : time(audit.to_us)}`}${audit.kafka ? "" : ", without Kafka"}`;
const plus = (day, text) => `${text}${day.counted < day.objects ? " +" : ""}`;

const DAYS = [
  { name: "Day", of: (day) => day.date }, { name: "Topic", of: (day) => day.topic },
  { name: "Objects", num: true, of: (day) => day.objects, cell: (day) => count(day.objects) },
  { name: "Rows", num: true, of: (day) => day.rows, cell: (day) => plus(day, count(day.rows)) },
  { name: "Size", num: true, of: (day) => day.bytes, cell: (day) => plus(day, bytes(day.bytes)) },
];
const PARTITIONS = [
  { name: "Partition", of: (one) => `${one.topic} ${one.partition}` },
  { name: "Behind", num: true, of: behind, cell: (one) => h("b", { class: behind(one) > 1e6 ? "warn" : null }, number(behind(one))) },
  { name: "End in Kafka", num: true, of: (one) => one.end, cell: (one) => number(one.end) },
  { name: "Archived below", num: true, of: (one) => one.archived, cell: (one) => number(one.archived) },
  { name: "Stored and archived below", num: true, of: (one) => one.committed, cell: (one) => number(one.committed) },
  { name: "Objects", num: true, of: (one) => one.objects, cell: (one) => [count(one.objects), one.incomplete ? h("span", { class: "bad" }, `, ${count(one.incomplete)} incomplete`) : null] },
  { name: "Newest object", of: (one) => one.newest?.hour_us, cell: ({ newest }) => (newest ? h("span", { title: newest.path }, `${time(newest.hour_us).slice(0, 13)} h, ${count(newest.rows)} rows, ${bytes(newest.bytes)}`) : "–") },
];

function audits(all) {
  if (!all.length) return empty("No audit yet", h("code", {}, "weir-sink audit -c FILE"), " compares archive, Kafka and store event by event; what it finds shows here.");
  const row = (audit) => h("tr", {}, h("th", { scope: "row" }, time(audit.ended_us)), h("td", {}, audit.faults ? pill(`${count(audit.faults)} faults`, "bad") : pill("sound", "ok")), h("td", {}, scope(audit)),
    ...["streams", "missing", "twice", "dead", "lost", "waiting", "objects_unread", "days", "days_differing"].map((name) => h("td", { class: "num" }, ["streams", "lost", "waiting", "days"].includes(name) || !audit[name] ? number(audit[name]) : h("b", { class: "bad" }, count(audit[name])))), h("td", { class: "num" }, duration(audit.took_us)));
  return h("div", { class: "scroll" }, h("table", { "data-testid": "audits", "data-count": all.length },
    thead("Ended", "Result", "Of", ["Streams"], ["Missing"], ["Twice"], ["Dead letters"], ["Lost by markers"], ["Waiting"], ["Objects unread"], ["Device days"], ["Differ"], ["Took"]), h("tbody", {}, all.map(row))));
}

export async function show({ root, signal }) {
  const partitions = table({ id: "partitions", label: "Partitions", signal, key: (one) => `${one.topic} ${one.partition}`, columns: PARTITIONS });
  const days = table({ id: "archive-days", label: "Archived by day", signal, down: true, key: (day) => `${day.date} ${day.topic}`, columns: DAYS });
  const tiles = h("section", { class: "tiles", "aria-label": "Summary" });
  const found = h("div", {});
  const note = h("span", { class: "muted" });
  const part = (name, more, ...body) => h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, name), more), ...body);
  root.append(tiles, part("Audits", null, found), part("Partitions", note, partitions.element), part("By day", null, days.element));
  const load = async () => {
    const all = await get("/v1/archive", {}, signal);
    const sum = (of, rows = all.days) => rows.reduce((total, row) => total + (of(row) ?? 0), 0);
    // A sound hour says nothing of the rest; a fault is one.
    const last = all.audits.find((audit) => audit.faults || whole(audit));
    const far = sum(behind, all.partitions);
    const bad = sum((one) => one.incomplete, all.partitions) + all.strays;
    tiles.replaceChildren(
      tile("Objects", short(sum((day) => day.objects)), `${count(all.partitions.length)} partitions`), tile("Rows", short(sum((day) => day.rows)), "that were counted"), tile("Size", bytes(sum((day) => day.bytes)), "compressed"),
      tile("Behind", all.kafka_problem ? "–" : short(far), "records not stored and archived", far > 1e6 ? "warn" : "ok"), tile("Out of place", count(bad), bad ? "incomplete objects, other files" : "nothing", bad ? "warn" : "ok"),
      tile("Last audit", last ? (last.faults ? `${count(last.faults)} faults` : "sound") : "none", last ? `${ago(last.ended_us)}, ${scope(last)}` : "of all", last?.faults ? "bad" : "ok"));
    note.textContent = `as of ${time(all.found_us)}${all.kafka_problem ? `; Kafka: ${all.kafka_problem}` : ""}${all.strays ? `; not ours: ${all.strays_named.join(", ")}` : ""}`;
    found.replaceChildren(audits(all.audits));
    partitions.show(all.partitions);
    days.show(all.days);
  };
  await load();
  every(15000, signal, () => load().catch((error) => { note.textContent = error.message; }));
}
