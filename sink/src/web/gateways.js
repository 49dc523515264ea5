// Gateways: all of them as last heard of, and one with all that its heartbeat tells.
//
// #/gateways?state=…, #/gateway/NAME

import { get } from "./api.js";
import { empty, every, facts, failure, h, later, pill, thead } from "./dom.js";
import { ago, bytes, count, duration, filtered, lost, short, time, waiting } from "./format.js";
import { lossTable } from "./losses.js";
import { table } from "./table.js";

const MANY = 10000;

const STATES = {
  silent: ["Silent", (agent) => agent.silent],
  lost: ["With losses", (agent) => lost(agent) > 0],
  behind: ["Behind", (agent) => waiting(agent) > MANY],
  clock: ["Clock not set", (agent) => agent.clock === "unsynced"],
};
const CLOCKS = { synced: ["synced", "ok"], corrected: ["corrected", ""], unsynced: ["not synced", "warn"] };

const clock = (agent) => pill(...(CLOCKS[agent.clock] ?? [agent.clock, ""]));
const number = (n, tone) => (n ? h("span", { class: tone, title: count(n) }, short(n)) : h("span", { class: "muted" }, "0"));
const since = (us, now_us) => (us ? h("span", { title: time(us) }, duration(now_us - us)) : h("span", { class: "muted" }, "–"));
const name = (agent) => [h("span", { class: `dot ${agent.silent ? "bad" : "ok"}`, "aria-hidden": "true" }), h("a", { href: `#/gateway/${encodeURIComponent(agent.agent)}` }, agent.agent), h("span", { class: "sr" }, agent.silent ? " (silent)" : " (heard of)")];

export async function show({ root, route, signal }) {
  let [held, now_us] = [[], 0];
  const search = h("input", { type: "search", placeholder: "Filter by name, site or version", "aria-label": "Filter gateways", "data-testid": "gateway-filter" });
  const state = h("select", { "aria-label": "State", "data-testid": "gateway-state" }, h("option", { value: "" }, "Any state"), Object.entries(STATES).map(([key, [label]]) => h("option", { value: key }, label)));
  const total = h("span", { class: "muted", role: "status" });
  const seen = (agent) => (agent.silent ? agent.ts_us - 1e18 : agent.ts_us);
  const list = table({
    id: "agents", label: "Gateways", signal, sort: 2, key: (agent) => agent.agent,
    columns: [
      { name: "Gateway", of: (agent) => agent.agent, cell: name },
      { name: "Site", of: (agent) => agent.site },
      { name: "Last seen", of: seen, cell: (agent) => h("span", { title: time(agent.ts_us), class: agent.silent ? "bad" : null }, ago(agent.ts_us, now_us)) },
      { name: "Clock", of: (agent) => agent.clock, cell: clock },
      { name: "Waiting", num: true, of: waiting, cell: (agent) => number(waiting(agent), waiting(agent) > MANY ? "warn" : "") },
      { name: "Oldest", num: true, of: (agent) => (agent.oldest_us ? now_us - agent.oldest_us : 0), cell: (agent) => since(agent.oldest_us, now_us) },
      { name: "Spool", num: true, of: (agent) => agent.spool_bytes, cell: (agent) => bytes(agent.spool_bytes) },
      { name: "Lost", num: true, of: lost, cell: (agent) => number(lost(agent), "bad") },
      { name: "Filtered", num: true, of: filtered, cell: (agent) => number(filtered(agent), "") },
      { name: "Taken", num: true, of: (agent) => agent.events_in, cell: (agent) => number(agent.events_in, "") },
      { name: "Metadata of", num: true, of: (agent) => agent.metadata_us ?? 0, cell: (agent) => (agent.metadata_us ? h("span", { title: time(agent.metadata_us) }, ago(agent.metadata_us, now_us)) : "–") },
      { name: "Up for", num: true, of: (agent) => now_us - agent.started_us, cell: (agent) => since(agent.started_us, now_us) },
      { name: "Version", of: (agent) => agent.version },
    ],
  });
  const none = h("div", {});
  root.append(h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, "Gateways"), total, h("span", { class: "grow" }), search, state), list.element, none));
  const fill = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const passes = STATES[state.value]?.[1] ?? (() => true);
    const rows = held.filter((agent) => passes(agent) && words.every((word) => `${agent.agent} ${agent.site} ${agent.version}`.toLowerCase().includes(word)));
    total.textContent = rows.length === held.length ? count(held.length) : `${count(rows.length)} of ${count(held.length)}`;
    list.element.hidden = !rows.length;
    list.show(rows);
    none.replaceChildren(...(rows.length ? [] : held.length ? [empty("No gateway matches", "Try fewer words, or any state.")] : [empty("No gateway has been heard of yet", "Start ", h("code", {}, "weir-agent run -c FILE"), " on a gateway; it shows here with its first heartbeat.")]));
  };
  const load = async () => {
    ({ items: held, now_us } = await get("/v1/agents", {}, signal));
    fill();
    performance.mark("gateways");
  };
  const open = (to) => { state.value = STATES[to.query.get("state")] ? to.query.get("state") : ""; };
  search.addEventListener("input", later(fill, 120));
  state.addEventListener("change", () => { location.hash = `#/gateways${state.value ? `?state=${state.value}` : ""}`; });
  open(route);
  await load();
  let turn = 0;
  // A large fleet is asked for once a minute, a small one every ten seconds.
  every(10000, signal, () => (held.length > 2000 && ++turn % 6 ? null : load().catch(() => {})));
  return (to) => {
    open(to);
    fill();
    return true;
  };
}

const rows = (map, none) => (Object.keys(map ?? {}).length ? Object.entries(map).map(([reason, n]) => `${reason}: ${count(n)}`).join(", ") : none);

/** One gateway. */
export async function showOne({ root, route, signal }) {
  const [asked] = route.parts;
  const none = (hint) => root.replaceChildren(empty("There is no such gateway", hint));
  if (!asked) return none("The address names none.");
  // What can have the focus is made once; the rest is replaced.
  const crumbs = h("div", { class: "crumbs" }, h("a", { href: "#/gateways" }, "Gateways"), "");
  const title = h("div", {}, crumbs, h("h1", {}, asked));
  const head = h("div", { class: "card-head" }, title);
  const card = h("section", { class: "card", "data-testid": "gateway", "data-agent": asked }, head);
  const list = lossTable(signal, false);
  const note = h("span", { class: "muted" });
  const losses = h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, "Losses"), note), list.element);
  const put = (after, ...more) => {
    while (after.nextSibling) after.nextSibling.remove();
    after.parentNode.append(...more);
  };
  const load = async () => {
    const { items: [agent], now_us } = await get("/v1/agents", { agent: asked }, signal);
    if (!agent) return none(`${asked} has never been heard of.`);
    const at = (us) => (us ? `${time(us)} (${ago(us, now_us)})` : "–");
    crumbs.lastChild.textContent = ` / ${agent.site}`;
    put(title, agent.silent ? pill("Silent", "bad") : pill("Heard of", "ok"), clock(agent));
    put(head,
        facts({
          "Last heartbeat": `${at(agent.ts_us)}, every ${agent.interval_s} s`, Started: at(agent.started_us), Version: agent.version, "Metadata in step": at(agent.metadata_us), Devices: count(agent.devices), "Series scored": count(agent.series),
          Taken: count(agent.events_in), "Acknowledged by Kafka": count(agent.events_out), Waiting: count(waiting(agent)), "Oldest waiting": at(agent.oldest_us), Spool: bytes(agent.spool_bytes), "Lost since the start": rows(agent.lost, "nothing"), "Filtered since the start": rows(agent.filtered, "nothing"),
        }),
        h("div", { class: "scroll" }, h("table", { "data-testid": "lanes" }, thead("Lane", "Stream", ["Last number"], ["Waiting"], "Backlog"),
          h("tbody", {}, agent.lanes.map((lane) => h("tr", {}, h("th", { scope: "row" }, lane.lane), h("td", {}, h("code", {}, lane.stream)), h("td", { class: "num" }, count(lane.last_seq)), h("td", { class: "num" }, count(lane.waiting)),
            h("td", {}, (lane.backlog ?? []).map((stream) => h("div", {}, h("code", {}, stream.stream), ` to ${count(stream.last_seq)}, ${count(stream.waiting)} waiting`)))))))));
    if (!card.isConnected) root.replaceChildren(card, losses);
    try {
      const { items } = await get("/v1/losses", { site: agent.site, agent: asked, limit: 200 }, signal);
      note.textContent = items.length ? "in thirty days" : "none in thirty days";
      list.element.hidden = !items.length;
      list.show(items);
    } catch (error) {
      note.textContent = `cannot be told: ${error.message}`;
    }
  };
  await load();
  every(10000, signal, () => load().catch((error) => signal.aborted || root.replaceChildren(failure(error))));
  return null;
}
