// Calls to /v1: JSON with problems as errors, and live records.

const TOKEN = "weir-token";
let asking = null;

/** An answer that is a problem (RFC 9457). */
export class ApiError extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.title);
    this.problem = problem;
  }
}

/** Who wants to know whether the sink answers: called with `ok`, `bad`. */
export const watchers = new Set();
const tell = (state) => watchers.forEach((watcher) => watcher(state));

function askToken() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token-dialog");
    const input = document.getElementById("token");
    dialog.addEventListener("close", () => {
      if (input.value) sessionStorage.setItem(TOKEN, input.value);
      input.value = "";
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

async function call(path, params, signal, body) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(params ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    let response;
    try {
      const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...(body && { "Content-Type": "application/json" }) };
      response = await fetch(url, { signal, headers, ...(body && { method: "POST", body: JSON.stringify(body) }) });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      tell("bad");
      throw new ApiError({ title: "The sink does not answer", detail: "no connection to the sink", hint: "is it running? The page tries again by itself" });
    }
    if (response.status === 401) {
      if (sessionStorage.getItem(TOKEN) === token) {
        sessionStorage.removeItem(TOKEN);
        await askToken();
      }
      continue;
    }
    tell(response.status >= 500 ? "bad" : "ok");
    if (!response.ok) {
      throw new ApiError(await response.json().catch(() => ({ title: "The sink does not answer as it should", detail: `HTTP status ${response.status}` })));
    }
    return response;
  }
}

/** The JSON answer of `path`. */
export const get = async (path, params, signal) => (await call(path, params, signal)).json();

/** Sends `body` to `path`. */
export const send = (path, params, body) => call(path, params, undefined, body);

let described = null;
/** Whether the sink's API has this path. */
export async function describes(path) {
  described ??= get("/v1/openapi.json").catch(() => { described = null; });
  return path in ((await described)?.paths ?? {});
}

/** Calls `on(kind, record)` for each live record, connecting again as often as needed, until `signal` ends it. */
export async function live(params, signal, on) {
  let wait_ms = 500;
  while (!signal.aborted) {
    try {
      const response = await call("/v1/live", params, signal);
      on("open");
      wait_ms = 500;
      await messages(response.body.getReader(), on);
    } catch (error) {
      if (signal.aborted) return;
    }
    on("closed");
    // fetch and not EventSource, because that one cannot carry a token.
    await new Promise((resolve) => setTimeout(resolve, wait_ms * (0.5 + Math.random())));
    wait_ms = Math.min(wait_ms * 2, 15000);
  }
}

async function messages(reader, on) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      let kind = "message";
      let data = "";
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) kind = line.slice(7);
        else if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (data) on(kind, JSON.parse(data));
    }
  }
}

/** The known sites, by name. */
export const sites = async (signal) => (await get("/v1/sites", {}, signal)).items;

/** The answers of `path` for every site, in one list. */
export async function everywhere(path, names, params, signal) {
  const answers = await Promise.all(names.map((site) => get(path, { site, ...params }, signal)));
  return answers.flatMap((answer) => answer.items);
}

/** The first data of each site, and until when that is believed. */
const firsts = new Map();

/** The time from which on there can be alerts: the sites' first data, or a month ago. */
export async function oldest(sites, signal) {
  const month = Date.now() * 1000 - 30 * 86400e6;
  const news = sites.filter((site) => !(firsts.get(site)?.until > Date.now()));
  const lists = await Promise.all(news.map((site) => everywhere("/v1/series", [site], {}, signal)));
  news.forEach((site, i) => firsts.set(site, {
    us: lists[i].reduce((first, { first_us }) => Math.min(first, first_us), Infinity),
    // A site without data may get some any time; the first data of others hardly change.
    until: Date.now() + (lists[i].length ? 600000 : 5000),
  }));
  return Math.round(Math.min(month, ...sites.map((site) => firsts.get(site).us)));
}
