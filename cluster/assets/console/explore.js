/** Explore page: a scored file, looked at from all sides without leaving the browser. */

import { histogram, scatter } from "./charts.js";
import { comparisonOf } from "./conversation.js";
import { el, number, shortened } from "./dom.js";
import { readTable, responsesOf } from "./rows.js";
import { agreement, correlation, disagreements, meanAndSpread, picked, sound, spreads } from "./statistics.js";

/** @typedef {import("./rows.js").Table} Table */

const SHOWN = 10;

/**
 * @param {HTMLElement} page
 * @param {(comparison: import("./conversation.js").Comparison) => void} compare opens one
 */
export function explorePage(page, compare) {
  const input = el("input", { type: "file", id: "file", accept: ".jsonl,.json,.ndjson,.txt" });
  const message = el("p", { class: "message", role: "alert" });
  const meter = el("progress", { max: 1, value: 0, hidden: true, "aria-label": "Reading" });
  const view = el("div", {});
  const drop = el("label", { class: "drop", for: "file" },
    el("strong", {}, "Drop a scored file here"),
    el("span", { class: "hint" }, "JSONL as the score and annotate commands write it, or any rows with rewards. It stays in your browser."),
    input);
  page.append(drop, meter, message, view);
  input.onchange = () => input.files?.[0] && read(input.files[0]);
  drop.ondragover = (/** @type {DragEvent} */ event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const file = event.dataTransfer?.files[0];
    if (file) void read(file);
  };

  /** @param {File} file */
  async function read(file) {
    message.textContent = "";
    view.replaceChildren();
    meter.hidden = false;
    try {
      const table = await readTable(file, (share) => { meter.value = share; });
      if (!table.columns.size) throw new Error("No row of this file has a reward: a number, or a list with one number for each response.");
      show(file.name, table);
    } catch (error) {
      message.textContent = error instanceof Error ? error.message : String(error);
    } finally {
      meter.hidden = true;
    }
  }

  /** @param {string} name @param {Table} table */
  function show(name, table) {
    const names = [...table.columns.keys()];
    const first = chooser("Reward", names, 0);
    const second = chooser("Second model", names, 1);
    const body = el("div", {});
    const redraw = () => drawAll(body, table, first.select.value, names.length > 1 ? second.select.value : "", compare);
    first.select.onchange = redraw;
    second.select.onchange = redraw;
    view.replaceChildren(
      el("h2", {}, name),
      el("p", { class: "hint" }, `${number(table.rows.length)} rows, ${number(table.row.length)} responses`,
        table.failed ? `, ${number(table.failed)} rows with an error` : "",
        table.broken ? `, ${number(table.broken)} lines without a reward` : ""),
      el("div", { class: "row" }, first.label, names.length > 1 && second.label),
      body);
    redraw();
  }
}

/** @param {string} text @param {string[]} names @param {number} chosen */
function chooser(text, names, chosen) {
  const select = el("select", {}, ...names.map((name, i) => el("option", { selected: i === chosen }, name)));
  return { select, label: el("label", {}, `${text} `, select) };
}

/**
 * @param {HTMLElement} place
 * @param {Table} table
 * @param {string} first
 * @param {string} second "" where there is but one column
 * @param {(comparison: any) => void} compare
 */
function drawAll(place, table, first, second, compare) {
  const column = /** @type {Float64Array} */ (table.columns.get(first));
  const items = sound(column);
  const [values, lengths] = [picked(column, items), picked(table.length, items)];
  const { mean, spread } = meanAndSpread(values);
  const apart = spreads(table, column);
  const figures = { rewards: el("figure", {}), lengths: el("figure", {}), spreads: el("figure", {}) };
  const order = Array.from(items).sort((a, b) => column[b] - column[a]);
  const list = (/** @type {string} */ title, /** @type {number[]} */ chosen) =>
    itemTable(title, table, chosen, (i) => [number(column[i], 3)], [first], compare);
  place.replaceChildren(
    el("div", { class: "charts" },
      el("section", {}, el("h3", {}, "Rewards"), figures.rewards,
        el("p", { class: "hint" }, `mean ${number(mean, 3)}, standard deviation ${number(spread, 3)}`)),
      el("section", {}, el("h3", {}, "Reward against length"), figures.lengths,
        el("p", { class: "hint" }, `correlation ${number(correlation(lengths, values), 3)} (Pearson), length in characters`)),
      apart.length > 0 && el("section", {}, el("h3", {}, "Spread within a prompt"), figures.spreads,
        el("p", { class: "hint" }, `best minus worst response, mean ${number(meanAndSpread(apart).mean, 3)}, of ${number(apart.length)} prompts`))),
    list("Best", order.slice(0, SHOWN)),
    list("Worst", order.slice(-SHOWN).reverse()));
  if (second && second !== first) place.append(disagreementTable(table, first, second, compare));
  histogram(figures.rewards, values, first);
  scatter(figures.lengths, lengths, values, ["characters", first]);
  if (apart.length) histogram(figures.spreads, apart, "best minus worst");
}

/** @param {Table} table @param {string} first @param {string} second @param {(comparison: any) => void} compare */
function disagreementTable(table, first, second, compare) {
  const [a, b] = [first, second].map((name) => /** @type {Float64Array} */ (table.columns.get(name)));
  const found = disagreements(a, b, SHOWN);
  const gaps = new Map(found.map(({ item, gap }) => [item, gap]));
  const same = agreement(table, a, b);
  const made = itemTable("Where the two disagree most", table, found.map(({ item }) => item),
    (i) => [number(a[i], 3), number(b[i], 3), number(gaps.get(i) ?? NaN, 2)], [first, second, "gap (standard deviations)"], compare);
  if (Number.isFinite(same)) {
    made.prepend(el("p", { class: "hint" }, `The same response is best in ${number(100 * same, 1)}% of the prompts.`));
  }
  return made;
}

/**
 * @param {string} title
 * @param {Table} table
 * @param {number[]} items
 * @param {(item: number) => string[]} cells
 * @param {string[]} heads
 * @param {(comparison: any) => void} compare
 */
function itemTable(title, table, items, cells, heads, compare) {
  const row = (/** @type {number} */ item) => {
    const source = table.rows[table.row[item]];
    const text = responsesOf(source)[table.response[item]];
    return el("tr", {},
      ...cells(item).map((cell) => el("td", { class: "figure" }, cell)),
      el("td", { class: "response" }, shortened(text, 160)),
      el("td", {}, el("button", { type: "button", onclick: () => compare(comparisonOf(source)) }, "Compare")));
  };
  return el("div", { class: "scroll" },
    el("table", {},
      el("caption", {}, title),
      el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)), el("th", { scope: "col" }, "Response"), el("th", {}))),
      el("tbody", {}, ...items.map(row))));
}
