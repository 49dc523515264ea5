// Data: the values of a range in as much detail as the plot has room for. Rollups for long ranges, of which the
// sink keeps those of sealed days; values, or bins of them, for short ones.

import { get } from "./api.js";

const DAY = 86400e6;
const STEPS = [["1m", 60e6], ["5m", 300e6], ["15m", 900e6], ["1h", 3600e6], ["6h", 6 * 3600e6], ["1d", DAY]];

/** The narrowest windows of which a range has not much more than `points`; none for a range that is short. */
export function stepFor(span_us, points) {
  if (span_us <= 2 * DAY) return null;
  return STEPS.find(([, us]) => span_us / us <= 2 * points) ?? STEPS[STEPS.length - 1];
}

/** As /v1/readings answers; of a long range the bins are rollups, whole also at both ends. */
export async function values(key, from, to, points, signal) {
  const step = stepFor(to - from, points);
  if (!step) return get("/v1/readings", { ...key, from, to, max_points: points }, signal);
  const { windows, step_us } = await get("/v1/rollups", { ...key, from, to, step: step[0] }, signal);
  const total = (name) => windows.reduce((sum, window) => sum + window[name], 0);
  return { from_us: from, to_us: to, n: total("n"), anomalies_n: total("anomalies_n"), points: [], bin_us: step_us, bins: windows, anomalies: [], truncated: false, rollups: true };
}

/** Spans with a score above 1, joined where they touch: `[from_us, to_us]` each. */
export function unusual(readings) {
  const { bins, points, bin_us } = readings;
  const spans = [];
  const add = (from, to) => {
    const last = spans[spans.length - 1];
    if (last && from <= last[1]) last[1] = to;
    else spans.push([from, to]);
  };
  for (const bin of bins) if (bin.score > 1) add(bin.ts_us, bin.ts_us + bin_us);
  points.forEach((point, i) => {
    if (!(point.score > 1)) return;
    // From the middle to the value before up to the middle to the one after, where these are near.
    const half = (other) => (other ? Math.min(Math.abs(other.ts_us - point.ts_us) / 2, 300e6) : 0);
    add(point.ts_us - half(points[i - 1]), point.ts_us + half(points[i + 1]));
  });
  return spans;
}

const quoted = (text) => `"${String(text ?? "").replace(/^[=+\-@\t]/, "'$&").replaceAll('"', '""')}"`;

/** Series as CSV: a row a value or a window, of a value min, max and mean are the same. */
export function csv(all) {
  const rows = all.flatMap(({ key, unit, readings }) => {
    const name = [key.site, key.device, key.metric, unit].map(quoted).join(",");
    const some = readings.bins.length ? readings.bins : readings.points.map((point) => ({ ...point, n: 1, min: point.value, max: point.value, mean: point.value }));
    return some.map((row) => `${name},${new Date(row.ts_us / 1000).toISOString()},${row.ts_us},${row.n},${row.min},${row.max},${row.mean},${row.score ?? ""}`);
  });
  return `site,device,metric,unit,time,ts_us,n,min,max,mean,score\r\n${rows.join("\r\n")}\r\n`;
}

/** The canvases of an element below each other with a title, as PNG. */
export function png(element, title) {
  const drawn = [...element.querySelectorAll("canvas")];
  const style = getComputedStyle(element.closest(".card"));
  const head = Math.round(30 * devicePixelRatio);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(...drawn.map((one) => one.width));
  canvas.height = drawn.reduce((sum, one) => sum + one.height, head);
  const ctx = canvas.getContext("2d");
  ctx.fillStyle = style.backgroundColor;
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.fillStyle = style.color;
  ctx.font = `${13 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.fillText(title, 12 * devicePixelRatio, 20 * devicePixelRatio, canvas.width - 24 * devicePixelRatio);
  let top = head;
  for (const one of drawn) {
    ctx.drawImage(one, 0, top);
    top += one.height;
  }
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Lets the browser save it. */
export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\w.-]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
