// Plot: one series as a line (or as a band of extremes with its mean), its anomalies and alerts, another series to
// compare it with, and its score below. uPlot draws; zooming is told to the caller, who asks for the data.

import { unusual } from "./data.js";
import { h } from "./dom.js";
import { number, time } from "./format.js";

/* global uPlot */

let loaded = null;
/** Waits for uPlot, which only plots need. */
export const ready = () => (loaded ??= new Promise((resolve, reject) => {
  document.head.append(h("link", { rel: "stylesheet", href: "/app/vendor/uPlot.min.css" }), h("script", { src: "/app/vendor/uPlot.iife.min.js", onload: resolve, onerror: () => {
    loaded = null;
    reject(new Error("The plots cannot be loaded."));
  } }));
}));

/** Colours come from the style sheet, so that light and dark are said in one place. */
function colours(element) {
  const probe = element.appendChild(h("span", { hidden: true }));
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const found = Object.fromEntries(["accent", "band", "bad", "shade", "muted", "line", "text", "surface", "ok", "usual", "unusual", "other"].map((name) => [name, colour(name)]));
  probe.remove();
  return found;
}

/** The answer of /v1/readings as columns for uPlot; a gap in the data is a gap in the line. */
export function columns(readings) {
  const binned = readings.bins.length > 0;
  const rows = binned ? readings.bins : readings.points;
  const half = binned ? readings.bin_us / 2 : 0;
  const steps = rows.slice(1).map((row, i) => row.ts_us - rows[i].ts_us).sort((a, b) => a - b);
  const gap = Math.max((steps[steps.length >> 1] ?? 0) * 8, 2 * (readings.bin_us ?? 0));
  const [x, value, min, max, score] = [[], [], [], [], []];
  rows.forEach((row, i) => {
    if (i && gap && row.ts_us - rows[i - 1].ts_us > gap) {
      x.push((rows[i - 1].ts_us + row.ts_us) / 2e6);
      for (const column of [value, min, max, score]) column.push(null);
    }
    x.push((row.ts_us + half) / 1e6);
    value.push(binned ? row.mean : row.value);
    min.push(binned ? row.min : null);
    max.push(binned ? row.max : null);
    score.push(row.score);
  });
  return { binned, main: [x, max, min, value], score: [x, score] };
}

const axis = (theme, more) => ({
  stroke: theme.muted, grid: { stroke: theme.line, width: 1 }, ticks: { stroke: theme.line, width: 1, size: 4 },
  font: "11px system-ui, sans-serif", gap: 4, ...more,
});

/** Times on the axis, as uPlot wants them: step, format, and what is put below it when the year, day or minute changes. */
const TIMES = [
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, ":{ss}", "\n{D} {MMM} {YYYY} {HH}:{mm}", null, "\n{D} {MMM} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
  [0.001, ":{ss}.{fff}", "\n{D} {MMM} {YYYY} {HH}:{mm}", null, "\n{D} {MMM} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
];

/** Shades unusual spans and those of alerts, and the usual range where an alert knows it. */
const shade = (spans, alerts, theme) => (u) => {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.fillStyle = theme.unusual;
  for (const [from, to] of spans) {
    const [left, right] = [from, to].map((us) => u.valToPos(us / 1e6, "x", true));
    const width = Math.max(right - left, 2 * devicePixelRatio);
    ctx.fillRect((left + right - width) / 2, bbox.top, width, bbox.height);
  }
  for (const { data } of alerts) {
    const left = u.valToPos(data.fired_us / 1e6, "x", true);
    const right = data.resolved_us ? u.valToPos(data.resolved_us / 1e6, "x", true) : bbox.left + bbox.width;
    const width = Math.max(right - left, 3 * devicePixelRatio);
    ctx.fillStyle = theme.shade;
    ctx.fillRect(left, bbox.top, width, bbox.height);
    ctx.fillStyle = theme.bad;
    ctx.fillRect(left, bbox.top, width, 3 * devicePixelRatio);
    if (!data.baseline) continue;
    const [high, low] = [data.baseline.high, data.baseline.low].map((value) => u.valToPos(value, "y", true));
    ctx.fillStyle = theme.usual;
    ctx.fillRect(left, high, width, low - high);
    ctx.fillStyle = theme.ok;
    for (const y of [high, low]) ctx.fillRect(left, y, width, devicePixelRatio);
  }
  ctx.restore();
};

/** Marks every point with a score above 1. */
const markAnomalies = (points, theme) => (u) => {
  const { ctx, bbox } = u;
  const radius = 3 * devicePixelRatio;
  ctx.save();
  ctx.fillStyle = theme.bad;
  ctx.strokeStyle = theme.surface;
  ctx.lineWidth = devicePixelRatio;
  for (const point of points) {
    const x = u.valToPos(point.ts_us / 1e6, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.arc(x, u.valToPos(point.value, "y", true), radius, 0, 2 * Math.PI);
    ctx.fill();
    ctx.stroke();
  }
  ctx.restore();
};

const markThreshold = (theme) => (u) => {
  const { ctx, bbox } = u;
  const y = u.valToPos(1, "y", true);
  ctx.save();
  ctx.strokeStyle = theme.bad;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
};

/** The number of a column at or nearest to a place; joined columns have holes. */
function near(column, i) {
  for (let by = 0; by < 50; by += 1) {
    for (const at of [i - by, i + by]) if (column[at] !== null && column[at] !== undefined) return at;
  }
  return null;
}

/** Draws into `element`, beside it `other` on an axis of its own; `on.zoom(from_us, to_us)`, `on.reset()`. Returns what to call for another size, to walk along the values, or for the end. */
export function draw(element, { readings, alerts, anomalies, unit, other, on }) {
  const theme = colours(element);
  const { binned, main: own, score } = columns(readings);
  const second = other ? columns(other.readings).main : null;
  const main = second ? uPlot.join([own, [second[0], second[3]]]) : own;
  const x = { time: true, range: () => [readings.from_us / 1e6, readings.to_us / 1e6] };
  const readout = element.querySelector(".readout");
  const say = (u) => {
    const at = u.cursor.idx;
    const i = at === null || at === undefined ? null : near(main[3], at);
    const has = i !== null && (second || i === at);
    const scored = has ? score[1][second ? own[0].indexOf(main[0][i]) : i] ?? null : null;
    const beside = has && second ? near(main[4], at) : null;
    readout.textContent = has
      ? `${time(main[0][i] * 1e6, readings.to_us - readings.from_us < 600e6)}   ${number(main[3][i])}${unit ? ` ${unit}` : ""}${binned ? `   ${number(main[2][i])} … ${number(main[1][i])}` : ""}${scored === null ? "" : `   score ${number(scored)}`}${beside === null ? "" : `   ${other.name} ${number(main[4][beside])}${other.unit ? ` ${other.unit}` : ""}`}`
      : "";
  };
  const cursor = {
    y: false, drag: { x: true, y: false, setScale: false }, sync: { key: "series" },
    bind: { dblclick: () => () => { on.reset(); return null; } },
    points: { size: 7 },
  };
  const select = (u) => {
    if (u.select.width < 4) return;
    const from = u.posToVal(u.select.left, "x") * 1e6;
    const to = u.posToVal(u.select.left + u.select.width, "x") * 1e6;
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    on.zoom(Math.floor(from), Math.ceil(to));
  };
  const width = () => element.clientWidth;
  const range = (u, min, max) => (min === null || max === null ? [0, 1] : uPlot.rangeNum(min, max, 0.08, true));
  const few = main[0].length < width() / 12;
  // A value between two gaps has no line to show it: it gets a dot.
  const lonely = second ? [] : main[3].flatMap((value, i) => (value !== null && (main[3][i - 1] ?? null) === null && (main[3][i + 1] ?? null) === null ? [i] : []));
  const plots = [new uPlot({
    width: width(), height: Math.max(240, Math.min(420, innerHeight * 0.45)), legend: { show: false }, cursor, padding: [8, 8, 0, 0],
    scales: { x, y: { range }, z: { range } },
    axes: [axis(theme, { space: 70, values: TIMES }), axis(theme, { size: 54, values: (u, ticks) => ticks.map((tick) => number(tick)) }),
      ...(second ? [axis(theme, { scale: "z", side: 1, size: 54, grid: { show: false }, stroke: theme.other, values: (u, ticks) => ticks.map((tick) => number(tick)) })] : [])],
    series: [{}, { show: binned, stroke: theme.band, width: 0.5, points: { show: false } }, { show: binned, stroke: theme.band, width: 0.5, points: { show: false } },
      { stroke: theme.accent, width: 1.5, points: { show: true, size: few ? 5 : 3, fill: theme.accent, filter: () => (few ? null : lonely) } },
      ...(second ? [{ scale: "z", stroke: theme.other, width: 1.5, points: { show: false } }] : [])],
    bands: binned ? [{ series: [1, 2], fill: theme.band }] : [],
    hooks: { drawClear: [shade(unusual(readings), alerts, theme)], draw: [markAnomalies(anomalies, theme)], setSelect: [select], setCursor: [say] },
  }, main, element.querySelector(".plot-main"))];
  if (score[1].some((value) => value !== null)) {
    plots.push(new uPlot({
      width: width() - (second ? 54 : 0), height: 96, legend: { show: false }, cursor, padding: [8, 8, 8, 0],
      scales: { x, y: { range: (u, min, max) => [0, Math.max(1.5, (max ?? 0) * 1.1)] } },
      axes: [axis(theme, { show: false }), axis(theme, { size: 54, space: 20, values: (u, ticks) => ticks.map((tick) => number(tick)) })],
      series: [{}, { stroke: theme.muted, width: 1, fill: theme.line, points: { show: false } }],
      hooks: { draw: [markThreshold(theme)], setSelect: [select] },
    }, score, element.querySelector(".plot-score")));
  }
  return {
    resize: () => plots.forEach((plot, i) => plot.setSize({ width: width() - (i && second ? 54 : 0), height: plot.height })),
    /** Moves the cursor by so many values and tells what is there. */
    walk: (by) => {
      const [u] = plots;
      const from = u.cursor.idx ?? (by > 0 ? -1 : main[0].length);
      let i = from + by;
      // The middle of a window that the range cuts lies outside: the cursor cannot go there.
      const shown = (at) => (main[3][at] ?? null) !== null && main[0][at] >= readings.from_us / 1e6 && main[0][at] <= readings.to_us / 1e6;
      while (i >= 0 && i < main[0].length && !shown(i)) i += by;
      if (i < 0 || i >= main[0].length) return readout.textContent;
      u.setCursor({ left: u.valToPos(main[0][i], "x"), top: u.valToPos(main[3][i], "y") });
      return readout.textContent;
    },
    destroy: () => plots.forEach((plot) => plot.destroy()),
    points: main[3].filter((value) => value !== null).length,
    binned,
  };
}
