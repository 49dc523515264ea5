// Times, numbers and durations as people read them. Times are microseconds since 1970, UTC.

const pad = (n, width = 2) => String(n).padStart(width, "0");

/** `2026-11-21 10:45:46`, in the browser's time zone; with milliseconds where asked. */
export function time(us, withMillis = false) {
  if (us === null || us === undefined) return "–";
  const d = new Date(us / 1000);
  if (Number.isNaN(d.getTime())) return String(us);
  const text = `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
  return withMillis ? `${text}.${pad(d.getMilliseconds(), 3)}` : text;
}

/** The name of the browser's time zone. */
export const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone ?? "local time";

/** What a person typed as a time, in the browser's zone: `2026-11-21`, with `10:45`, with seconds; null when it is none. */
export function typedTime(text) {
  const found = /^\s*(\d{4})-(\d\d?)-(\d\d?)(?:[ T](\d\d?):(\d\d)(?::(\d\d)(?:\.\d+)?)?)?\s*$/.exec(text);
  if (!found) return null;
  const [year, month, day, hour = 0, minute = 0, second = 0] = found.slice(1).map((part) => (part === undefined ? undefined : Number(part)));
  const us = new Date(year, month - 1, day, hour, minute, second).getTime() * 1000;
  return Number.isFinite(us) ? us : null;
}

/** A value with as many digits as are worth reading. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(3);
  const digits = size >= 1000 ? 1 : size >= 100 ? 2 : size >= 1 ? 3 : 5;
  return value.toLocaleString("en", { maximumFractionDigits: digits, useGrouping: size >= 10000 });
}

/** A value in four digits, for a column. */
export const brief = (value) => (Number.isFinite(value) ? number(Number(value.toPrecision(4))) : "–");

/** A count with thousands separated. */
export const count = (n) => (n ?? 0).toLocaleString("en");

/** A count in few letters: 12.3k. */
export const short = (n) => (n < 10000 ? count(n) : new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(n));

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  while (n >= 1024 && step < units.length - 1) {
    n /= 1024;
    step += 1;
  }
  return `${n.toLocaleString("en", { maximumFractionDigits: n < 10 && step ? 1 : 0 })} ${units[step]}`;
}

/** A length of time in its two largest units. */
export function duration(us) {
  let s = Math.max(0, Math.round(us / 1e6));
  if (s < 1) return us < 1000 ? `${Math.round(us)} µs` : `${Math.round(us / 1000)} ms`;
  const parts = [];
  for (const [unit, seconds] of [["y", 31557600], ["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    if (s >= seconds && parts.length < 2) {
      parts.push(`${Math.floor(s / seconds)} ${unit}`);
      s %= seconds;
    } else if (parts.length) break;
  }
  return parts.join(" ");
}

/** How long ago. */
export function ago(us, now_us = Date.now() * 1000) {
  const since = now_us - us;
  if (since < -60e6) return `in ${duration(-since)}`;
  if (since < 2e6) return "now";
  return `${duration(since).split(" ").slice(0, 2).join(" ")} ago`;
}

export const SEVERITIES = ["emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"];

/** How loud a severity is: `bad`, `warn`, `calm` or `quiet`. */
export const loudness = (severity) =>
  severity === null || severity === undefined ? "quiet" : severity <= 3 ? "bad" : severity === 4 ? "warn" : severity <= 6 ? "calm" : "quiet";

// What the members of the default model look at; a rule is shown by the name it was given.
const REASONS = {
  kmeans_diff: "unusual change",
  kmeans_diff_smooth: "unusual change over some readings",
  season: "unusual for the time of day",
  kmeans_level: "unusual course of the level",
  stuck: "stands still",
  unit: "not possible in its unit",
};

/** Why an alert fired, in words. */
export const reason = (why) => REASONS[why] ?? why;

/** The path of a series in an address. */
export const pathOf = ({ site, device, metric }) => [site, device, metric].map(encodeURIComponent).join("/");

/** The address of a series, at a range where given. */
export function seriesLink(key, from_us, to_us) {
  return `#/series/${pathOf(key)}${from_us === undefined ? "" : `?from=${Math.round(from_us)}&to=${Math.round(to_us)}`}`;
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
/** Events that wait in a gateway's spool. */
export const waiting = ({ lanes }) => sum(lanes.map((lane) => lane.waiting));
/** Events that a gateway lost since it started. */
export const lost = (agent) => sum(Object.values(agent.lost ?? {}));
/** Events that a gateway's filter left out since it started. */
export const filtered = (agent) => sum(Object.values(agent.filtered ?? {}));
