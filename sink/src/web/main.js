// The frame around the views: which one is shown, the site, the theme, what is firing.

import { ApiError, everywhere, oldest, sites, watchers } from "./api.js";
import { every, failure, h } from "./dom.js";
import { count } from "./format.js";

// A view is loaded when it is shown for the first time.
const views = {
  fleet: () => import("./fleet.js"),
  gateways: () => import("./gateways.js"),
  gateway: async () => ({ show: (await import("./gateways.js")).showOne }),
  series: () => import("./series.js"),
  alerts: () => import("./alerts.js"),
  logs: () => import("./logs.js"),
  losses: () => import("./losses.js"),
  archive: () => import("./archive.js"),
};
/** A view; a page that was open while the sink became another version may not fit to it. */
const load = (view) => views[view]().catch((error) => {
  throw new ApiError({ title: "This view cannot be loaded", detail: error.message, hint: "load the page anew: the sink was away, or is of another version now" });
});
/** Views of one site. */
const OF_SITE = ["alerts", "logs"];
const main = document.getElementById("main");
const picker = document.getElementById("site");
let shown = null;
let known = [];

/** A part of a path; as it stands where it is no percent-encoding. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The hash as view, parts and parameters. */
function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, ...parts] = path.split("/").filter(Boolean).map(decoded);
  return { view: Object.hasOwn(views, view ?? "") ? view : "fleet", parts, query: new URLSearchParams(query ?? "") };
}

async function show() {
  const to = route();
  // Within a view only the parameters change: let it take them without building all anew.
  if (shown?.view === to.view && shown.update?.(to)) return;
  shown?.stop.abort();
  const stop = new AbortController();
  shown = { view: to.view, stop, update: null };
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.dataset.view === to.view || link.dataset.view === `${to.view}s`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${to.view[0].toUpperCase()}${to.view.slice(1)} – weir`;
  const root = h("div", { class: `view view-${to.view}`, "data-testid": `view-${to.view}` });
  main.replaceChildren(root);
  try {
    const [view, all] = await Promise.all([load(to.view), sites(stop.signal)]);
    if (stop.signal.aborted) return;
    known = all;
    pickSite(to);
    const update = await view.show({ root, route: to, sites: known, site: () => picker.value, signal: stop.signal });
    if (shown.stop === stop) shown.update = update;
    // Before the first data there is nothing to choose from: look again soon.
    if (!known.length && (OF_SITE.includes(to.view) || to.view === "series")) setTimeout(() => shown.stop === stop && restart(), 5000);
  } catch (error) {
    if (stop.signal.aborted) return;
    root.replaceChildren(failure(error));
    setTimeout(() => stop.signal.aborted || shown.stop !== stop || restart(), 3000);
  }
}

function restart() {
  shown?.stop.abort();
  shown = null;
  show();
}

function pickSite(to) {
  const asked = to.view === "series" ? to.parts[0] : to.query.get("site");
  const site = [asked, picker.value, localStorage.getItem("weir-site"), known[0]].find((name) => known.includes(name));
  picker.replaceChildren(...known.map((name) => h("option", { value: name, selected: name === site }, name)));
  document.getElementById("site-pick").hidden = known.length < 2 || !OF_SITE.includes(to.view);
}

picker.addEventListener("change", () => {
  localStorage.setItem("weir-site", picker.value);
  const { view } = route();
  location.hash = `#/${view}?site=${encodeURIComponent(picker.value)}`;
});

async function countFiring() {
  const signal = AbortSignal.timeout(20000);
  try {
    const names = await sites(signal);
    const firing = await everywhere("/v1/alerts", names, { state: "firing", from: await oldest(names, signal), limit: 1000 }, signal);
    const badge = document.getElementById("firing");
    badge.hidden = firing.length === 0;
    badge.textContent = firing.length >= 1000 ? "999+" : count(firing.length);
    badge.setAttribute("aria-label", `${firing.length} firing`);
  } catch {
    // The state of the link tells it already.
  }
}

watchers.add((state) => {
  document.getElementById("link-state").dataset.state = state;
  const text = state === "ok" ? "The sink answers" : "The sink does not answer";
  const spoken = document.getElementById("link-text");
  if (spoken.textContent !== text) spoken.textContent = text;
  document.getElementById("link-state").title = text;
});

function theme(next) {
  if (next) localStorage.setItem("weir-theme", next);
  const chosen = localStorage.getItem("weir-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
  if (next) window.dispatchEvent(new Event("themechange"));
}

document.getElementById("theme").addEventListener("click", () => {
  const { theme: chosen } = document.documentElement.dataset;
  const dark = chosen === "dark"
    || (!chosen && matchMedia("(prefers-color-scheme: dark)").matches);
  theme(dark ? "light" : "dark");
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.dispatchEvent(new Event("themechange")));
window.addEventListener("hashchange", show);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

theme();
show();
countFiring();
every(60000, new AbortController().signal, countFiring);
