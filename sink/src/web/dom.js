// Building elements. Text is always set as text, never as markup: it comes from devices.

/** An element with attributes (`on…` are listeners, null leaves out) and children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A field for a time, as in `2026-11-21 10:45:46`; `parse` gives its microseconds or null. */
export function timeField(label, parse) {
  const input = h("input", { type: "text", class: "time", placeholder: "YYYY-MM-DD HH:MM", "aria-label": label, title: `${label}, as 2026-11-21 10:45:46`, name: label.toLowerCase(), autocomplete: "off", spellcheck: "false" });
  input.addEventListener("input", () => input.removeAttribute("aria-invalid"));
  input.addEventListener("change", () => {
    if (input.value.trim() && parse(input.value) === null) input.setAttribute("aria-invalid", "true");
  });
  return input;
}

/** A word on a coloured ground. */
export const pill = (text, tone) => h("span", { class: `pill ${tone}` }, text);

/** A number that stands out, with its name and a note. */
export const tile = (name, value, note, tone, href) => h(href ? "a" : "div", { class: "tile", href, "data-tone": tone, "data-testid": `tile-${name.toLowerCase().replace(/\W+/g, "-")}` },
  h("span", { class: "label" }, name), h("strong", {}, value), h("span", { class: "note" }, note));

/** The heads of a table; a name in a list is one of numbers. */
export const thead = (...names) => h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col", class: Array.isArray(name) ? "num" : null }, name))));

/** Names and values. */
export const facts = (all) => h("dl", { class: "facts wide" }, Object.entries(all).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

/** Links of which one is chosen: `[value, text, href]` each. */
export function seg(label, links) {
  const all = links.map(([value, text, href]) => h("a", { "data-value": value, href }, text));
  return {
    element: h("div", { class: "seg", role: "group", "aria-label": label }, all),
    mark: (value) => all.forEach((link) => (link.dataset.value === value ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current"))),
  };
}

/** A note in place of data. */
export const empty = (title, ...hint) => h("div", { class: "empty" }, h("strong", {}, title), h("p", {}, ...hint));

/** An error of the API, with its hint, in place of data. */
export function failure(error) {
  const problem = error.problem ?? {};
  return h("div", { class: "empty bad", role: "alert", "data-testid": "problem" },
    h("strong", {}, problem.title ?? "This cannot be shown"),
    h("p", {}, problem.detail ?? String(error.message ?? error)),
    problem.hint ? h("p", { class: "muted" }, problem.hint) : null);
}

/** Calls `work` once after `wait_ms` without another call. */
export function later(work, wait_ms) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), wait_ms);
  };
}

/** Calls `work` every `interval_ms` while the page is seen, until `signal` ends it. */
export function every(interval_ms, signal, work) {
  const timer = setInterval(() => document.hidden || work(), interval_ms);
  signal.addEventListener("abort", () => clearInterval(timer));
}
