// Logs: search over what is stored, counts of what is found, and the live tail.
//
// #/logs?site=…&host=…&severity=…&app=…&template=…&q=…&from=…&to=…; with a range there is no live tail. `q` is what stands in the
// field: words, each of which a line must have, or in quotes a text as it stands, also in the middle of a word.

import { get, live } from "./api.js";
import { empty, every, failure, h, later, timeField } from "./dom.js";
import { SEVERITIES, count, duration, loudness, number, time, typedTime, zone } from "./format.js";
import { summary } from "./summary.js";

const LIMIT = 500;
const ROWS_MAX = 1000;
const HOUR = 3600e6;
/** Without a range the newest lines are looked for in longer and longer times. */
const WIDER = [HOUR, 24 * HOUR, 31 * 24 * HOUR, 366 * 24 * HOUR];

/** The words of a text, as the API sees them (docs/api.md). */
const wordsOf = (text) => (text.match(/[\p{Alphabetic}\p{N}_]+/gu) ?? []).map((word) => [...word].map((letter) => letter.toLowerCase()).join(""));

/** What the field asks for: parameters of the API. */
function sought(typed) {
  const quoted = /^\s*"(.+?)"?\s*$/.exec(typed ?? "");
  if (quoted) return { q: quoted[1] };
  if (!typed?.trim()) return {};
  return wordsOf(typed).length ? { words: typed } : { q: typed };
}

export async function show({ root, route, sites, site, signal }) {
  if (!sites.length) {
    root.append(empty("No log lines yet", "Point a syslog sender at a gateway; its lines show here within seconds."));
    return null;
  }
  const here = site();
  const field = (name, label, width) => h("input", { type: "search", name, placeholder: label, "aria-label": label, class: width, autocomplete: "off", spellcheck: "false" });
  const q = field("q", "Words, or \"part of a text\"", "grow");
  q.dataset.testid = "log-search";
  const host = field("host", "Host", "narrow");
  const app = field("app", "App", "narrow");
  const severity = h("select", { name: "severity", "aria-label": "Least severity" }, h("option", { value: "" }, "Any severity"), SEVERITIES.map((name, level) => h("option", { value: level }, level === 0 ? name : `${name} and worse`)));
  const from = timeField("From", typedTime);
  const to = timeField("To", typedTime);
  const tail = h("button", { type: "button", class: "tail", "aria-pressed": "true", "data-testid": "log-tail" });
  const status = h("span", { class: "muted", role: "status", "data-testid": "log-status" });
  const list = h("div", { class: "log", role: "log", "aria-live": "off", "aria-label": "Log lines", tabindex: "0", "data-testid": "log-lines", "data-count": "0" });
  let template = "";
  const single = h("button", { type: "button", class: "chip", title: "Lines of all templates", hidden: true, "data-testid": "log-template", onclick: () => { template = ""; submit(); } });
  const counts = summary({
    zoom: (a, b) => { [from.value, to.value] = [a, b].map((us) => time(us)); submit(); },
    only: (id) => { template = id; submit(); },
  });
  const form = h("form", { class: "bar", role: "search" }, q, host, app, severity, single, h("div", { class: "free" }, from, h("span", { "aria-hidden": "true" }, "–"), to));
  root.append(h("section", { class: "card log-card" }, h("div", { class: "card-head" }, h("h2", {}, "Logs"), h("span", { class: "muted" }, here), h("span", { class: "grow" }), status, tail), form, counts.element, list));

  let stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort());
  let paused = false;
  let ranged = false;
  let held = [];
  let missed = 0;
  let open = false;
  let ready = false;

  const say = (text) => { status.textContent = text; };
  const label = () => {
    tail.hidden = ranged;
    tail.setAttribute("aria-pressed", String(!paused));
    tail.dataset.open = String(open);
    tail.replaceChildren(h("span", { class: "dot", "aria-hidden": "true" }), paused ? (held.length ? `Paused, ${count(held.length)} new` : "Paused") : open ? "Live" : "Connecting");
    tail.setAttribute("aria-label", paused ? "Go on with the live tail" : "Pause the live tail");
  };
  const add = (rows) => {
    list.querySelector(".empty")?.remove();
    const atTop = list.scrollTop < 8;
    const before = list.scrollHeight;
    list.prepend(...rows.map(line));
    while (list.childElementCount > ROWS_MAX) list.lastElementChild.remove();
    // Who has scrolled down to read keeps the place.
    if (!atTop) list.scrollTop += list.scrollHeight - before;
    list.dataset.count = list.childElementCount;
  };
  const flush = () => {
    if (held.length) add(held.reverse());
    held = [];
    label();
  };
  // Lines that come fast are shown a few times a second, together.
  let framed = null;
  const frame = () => {
    framed ??= setTimeout(() => {
      framed = null;
      if (ready && !paused) flush();
    }, 150);
  };

  const line = (row) => h("div", { class: `line ${loudness(row.severity)}${row.score > 1 ? " unusual" : ""}` },
    h("time", { title: time(row.ts_us, true) }, time(row.ts_us)),
    h("span", { class: "sev", title: row.severity === null || row.severity === undefined ? "no severity" : `severity ${row.severity}` }, SEVERITIES[row.severity] ?? "–"),
    h("button", { type: "button", class: "host", title: `Only ${row.host}`, onclick: () => { host.value = row.host; submit(); } }, row.host || row.device),
    row.app ? h("button", { type: "button", class: "app", title: `Only ${row.app}`, onclick: () => { app.value = row.app; submit(); } }, row.app) : h("span", { class: "app" }, ""),
    h("span", { class: "msg" }, marked(row.message), row.score > 1 ? h("b", { class: "mark", title: "unusual for this host" }, `score ${number(row.score)}`) : null));

  /** The message with what was searched for marked. */
  const marked = (text) => {
    const asked = sought(q.value);
    const word = asked.q?.toLowerCase() ?? wordsOf(q.value).find((one) => wordsOf(text).includes(one)) ?? "";
    const at = word ? text.toLowerCase().indexOf(word) : -1;
    return at < 0 ? text : [text.slice(0, at), h("mark", {}, text.slice(at, at + word.length)), text.slice(at + word.length)];
  };

  const wanted = (query, asked = sought(query.get("q"))) => (row) => (!query.get("severity") || (row.severity ?? 9) <= Number(query.get("severity")))
    && (!query.get("app") || row.app === query.get("app"))
    && (!query.get("template") || row.template === query.get("template"))
    && (!asked.q || row.message.toLowerCase().includes(asked.q.toLowerCase()))
    && (!asked.words || ((own) => wordsOf(asked.words).every((word) => own.has(word)))(new Set(wordsOf(row.message))));

  async function search(asked, stopped) {
    if (ranged) return get("/v1/logs", asked, stopped);
    let answer = { items: [] };
    for (const length of WIDER) {
      const from = Date.now() * 1000 - length;
      try {
        answer = await get("/v1/logs", { ...asked, from }, stopped);
      } catch (error) {
        // Too long a time for the store: what a shorter one gave is better than nothing.
        if (length === HOUR || stopped.aborted) throw error;
        break;
      }
      asked.from = from;
      if (answer.items.length >= 50) break;
    }
    return answer;
  }
  async function start(query) {
    stop.abort();
    stop = new AbortController();
    const stopped = stop.signal;
    ranged = Boolean(query.get("from") || query.get("to"));
    [held, missed, open, ready] = [[], 0, false, false];
    label();
    say("Searching…");
    const began = performance.now();
    // Listening begins before the search, so that no line falls between the two.
    if (!ranged) follow(query, stopped);
    const asked = { site: here, ...Object.fromEntries(["host", "app", "severity", "template", "from", "to"].map((name) => [name, query.get(name)])), ...sought(query.get("q")) };
    const wide = { ...asked, limit: LIMIT };
    const { items, truncated } = await search(wide, stopped);
    asked.from = wide.from;
    list.replaceChildren(...(items.length ? items.map(line) : [empty("No line matches", ranged ? "Try a longer range or fewer filters." : "New lines show here as they arrive.")]));
    list.dataset.count = items.length;
    list.scrollTop = 0;
    say(`${truncated ? `newest ${count(items.length)}` : count(items.length)} line${items.length === 1 ? "" : "s"} in ${duration((performance.now() - began) * 1000)}, ${zone()}`);
    const there = new Set(items.map(identity));
    held = held.filter((row) => !there.has(identity(row)));
    ready = true;
    frame();
    // The lines are there first; what counts them may take longer, and is no reason to show an error.
    const tally = () => get("/v1/logs/summary", asked, stopped).then(counts.show, () => stopped.aborted || counts.clear());
    tally();
    if (!ranged) every(30000, stopped, tally);
  }
  const identity = (row) => `${row.stream}/${row.seq}`;

  function follow(query, stopped) {
    const passes = wanted(query);
    live({ site: here, host: query.get("host"), kind: "log" }, stopped, (kind, row) => {
      if (kind === "open" || kind === "closed") open = kind === "open";
      else if (kind === "missed") say(`${count(missed += row.missed)} lines came too fast to be shown; search finds them`);
      else if (passes(row)) {
        held.push(row);
        if (held.length > ROWS_MAX) held.shift();
        frame();
      }
      if (paused || kind !== "log") label();
    });
  }

  function submit() {
    const query = new URLSearchParams({ site: here });
    for (const input of [q, host, app, severity]) if (input.value) query.set(input.name, input.value);
    if (template) query.set("template", template);
    for (const input of [from, to]) if (typedTime(input.value) !== null) query.set(input.name, typedTime(input.value));
    location.hash = `#/logs?${query}`;
  }
  const typed = later(submit, 300);
  form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  for (const input of [q, host, app]) input.addEventListener("input", typed);
  for (const input of [severity, from, to]) input.addEventListener("change", submit);
  tail.addEventListener("click", () => { paused = !paused; flush(); });

  const apply = (where) => {
    const { query } = where;
    template = query.get("template") ?? "";
    single.hidden = !template;
    single.textContent = `Template ${template.slice(0, 6)}… ✕`;
    for (const input of [q, host, app, severity]) if (document.activeElement !== input) input.value = query.get(input.name) ?? "";
    for (const input of [from, to]) input.value = query.get(input.name) ? time(Number(query.get(input.name))) : "";
    start(query).catch((error) => {
      if (!signal.aborted && error.name !== "AbortError") {
        list.replaceChildren(failure(error));
        say("");
      }
    });
  };
  apply(route);
  return (where) => {
    if ((where.query.get("site") ?? here) !== here) return false;
    apply(where);
    return true;
  };
}
