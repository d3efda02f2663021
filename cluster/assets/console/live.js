/** Live page: the service's state, each second, from the numbers of `reward-cluster status`. */

import { ask } from "./api.js";
import { lines } from "./charts.js";
import { duration, el, number } from "./dom.js";

const EVERY_MS = 1000;
const SHORTEST_S = 0.5;
const KEPT = 180;

/** @typedef {{at: number, rate: number, waiting: number, p50: number, p95: number, p99: number}} Point */

/** @param {HTMLElement} page */
export function livePage(page) {
  const message = el("p", { class: "message", role: "alert" });
  const tiles = el("div", { class: "tiles" });
  const errors = el("div", { class: "errors" });
  const charts = {
    rate: el("figure", {}),
    waiting: el("figure", {}),
    latency: el("figure", {}),
  };
  page.append(message, tiles,
    el("div", { class: "charts" },
      el("section", {}, el("h2", {}, "Tokens per second"), charts.rate),
      el("section", {}, el("h2", {}, "Tokens waiting"), charts.waiting),
      el("section", {}, el("h2", {}, "Latency of a batch"), charts.latency,
        el("p", { class: "hint" }, "From the arrival of its first chat to its answer, over the last batches."))),
    errors);
  /** @type {any} */
  let before = null;
  /** @type {Point[]} */
  let points = [];
  /** @type {number|undefined} */
  let timer;

  async function look() {
    try {
      const now = await ask("v1/status");
      message.textContent = now.status === "RUNNING" ? "" : `${now.status} ${now.message}`;
      take(now);
    } catch (error) {
      message.textContent = error instanceof Error ? error.message : String(error);
      page.classList.add("stale");
      before = null;
    }
  }

  /** @param {any} now */
  function take(now) {
    page.classList.remove("stale");
    if (before && now.at - before.at < SHORTEST_S) return; // the same answer again, or no time to measure
    const done = before ? rates(before, now) : null;
    before = now;
    const quantiles = now.totals?.latency_s?.quantiles ?? {};
    points = [...points, {
      at: now.at,
      rate: done?.tokens ?? NaN,
      waiting: now.queue?.queued_tokens ?? NaN,
      p50: quantiles["0.5"] * 1000, p95: quantiles["0.95"] * 1000, p99: quantiles["0.99"] * 1000,
    }].slice(-KEPT);
    tiles.replaceChildren(...figures(now, done).map(tile));
    errors.replaceChildren(...errorTable(now.totals?.errors ?? {}));
    draw();
  }

  function draw() {
    const times = points.map((p) => p.at);
    const column = (/** @type {keyof Point} */ name) => points.map((p) => p[name]);
    lines(charts.rate, times, [["tokens/s", column("rate")]]);
    lines(charts.waiting, times, [["tokens", column("waiting")]]);
    lines(charts.latency, times,
      [["p50 ms", column("p50")], ["p95 ms", column("p95")], ["p99 ms", column("p99")]]);
  }

  /** @param {boolean} on */
  function watch(on) {
    clearInterval(timer);
    timer = undefined;
    if (!on) return;
    void look();
    timer = setInterval(() => { if (!document.hidden) void look(); }, EVERY_MS);
  }

  return { watch };
}

/** @param {any} before @param {any} now */
function rates(before, now) {
  const [old, fresh] = [before.totals, now.totals];
  const seconds = now.at - before.at;
  if (!old || !fresh || fresh.batches < old.batches || seconds <= 0) return null;
  const batches = fresh.batches - old.batches;
  const tokens = fresh.tokens - old.tokens;
  return {
    items: (fresh.items - old.items) / seconds,
    tokens: tokens / seconds,
    fill: (fresh.fill - old.fill) / batches,
    saved: (fresh.saved_tokens - old.saved_tokens) / tokens,
  };
}

/** @param {any} now @param {ReturnType<typeof rates>} done @returns {[string, string, string][]} */
function figures(now, done) {
  const { queue, totals, prompts } = now;
  const replicas = now.deployments.find((/** @type {any} */ d) => d.name === "Replica")?.replicas ?? {};
  const others = Object.entries(replicas).filter(([state]) => state !== "RUNNING");
  const quantiles = totals?.latency_s?.quantiles ?? {};
  const percent = (/** @type {number} */ x) => (Number.isFinite(x) ? `${number(100 * x)}%` : "–");
  return [
    ["Replicas", number(replicas.RUNNING ?? 0),
      others.map(([state, n]) => `${n} ${state.toLowerCase()}`).join(", ") || "all running"],
    ["Chats per second", number(done?.items ?? NaN, 1), `${number(totals?.items ?? NaN)} since the start`],
    ["Tokens per second", number(done?.tokens ?? NaN), `${number(totals?.tokens ?? NaN)} since the start`],
    ["Waiting", number(queue?.queued_items ?? NaN), `${number(queue?.queued_tokens ?? NaN)} tokens, oldest ${duration(queue?.oldest_s ?? NaN)}`],
    ["Latency p50", duration(quantiles["0.5"] ?? NaN), `p95 ${duration(quantiles["0.95"] ?? NaN)}, p99 ${duration(quantiles["0.99"] ?? NaN)}`],
    ["Batch fill", percent(done?.fill ?? NaN), `${percent(totals?.fill / totals?.batches)} since the start`],
    ["Saved by sharing", percent(done?.saved ?? NaN), `${percent(totals?.saved_tokens / totals?.tokens)} since the start`],
    ["Prompts kept", number(prompts?.prompts ?? NaN), `${percent(prompts?.hits / (prompts?.hits + prompts?.misses))} hits`],
  ];
}

/** @param {[string, string, string]} texts */
function tile([name, value, more]) {
  return el("div", { class: "tile" },
    el("span", { class: "hint" }, name), el("strong", {}, value), el("span", { class: "hint" }, more));
}

/** @param {Record<string, number>} errors */
function errorTable(errors) {
  const rows = Object.entries(errors).sort(([, a], [, b]) => b - a);
  if (!rows.length) return [el("p", { class: "hint" }, "No errors since the start.")];
  return [el("table", {},
    el("caption", {}, "Errors since the start"),
    el("tbody", {}, ...rows.map(([code, n]) => el("tr", {}, el("th", { scope: "row" }, code), el("td", {}, number(n))))))];
}
