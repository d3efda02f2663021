/** What Explore tells of columns: all skip items without a number. */

/** @typedef {import("./rows.js").Table} Table */

/** Items that have a number in each of `columns`. @param {...Float64Array} columns */
export function sound(...columns) {
  const kept = [];
  for (let i = 0; i < columns[0].length; i++) {
    if (columns.every((column) => !Number.isNaN(column[i]))) kept.push(i);
  }
  return Int32Array.from(kept);
}

/** @param {Float64Array} column @param {Int32Array} items */
export function picked(column, items) {
  return Float64Array.from(items, (i) => column[i]);
}

/** @param {Float64Array} values */
export function meanAndSpread(values) {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const square = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  return { mean, spread: Math.sqrt(square) };
}

/** Pearson's r. @param {Float64Array} xs @param {Float64Array} ys */
export function correlation(xs, ys) {
  const [a, b] = [meanAndSpread(xs), meanAndSpread(ys)];
  let sum = 0;
  for (let i = 0; i < xs.length; i++) sum += (xs[i] - a.mean) * (ys[i] - b.mean);
  return sum / xs.length / (a.spread * b.spread);
}

/** Highest minus lowest reward of each row with several. @param {Table} table @param {Float64Array} column */
export function spreads(table, column) {
  const found = [];
  for (const items of groups(table, sound(column))) {
    if (items.length < 2) continue;
    const values = items.map((i) => column[i]);
    found.push(Math.max(...values) - Math.min(...values));
  }
  return Float64Array.from(found);
}

/** Items of a row, which stand together. @param {Table} table @param {Int32Array} items */
function* groups(table, items) {
  for (let start = 0; start < items.length; ) {
    let end = start;
    while (end < items.length && table.row[items[end]] === table.row[items[start]]) end++;
    yield Array.from(items.subarray(start, end));
    start = end;
  }
}

/**
 * Items on which two columns differ most, each measured from its mean in its own spread.
 * @param {Float64Array} a @param {Float64Array} b @param {number} n
 */
export function disagreements(a, b, n) {
  const items = sound(a, b);
  const [left, right] = [a, b].map((column) => meanAndSpread(picked(column, items)));
  const gap = (/** @type {number} */ i) =>
    (a[i] - left.mean) / (left.spread || 1) - (b[i] - right.mean) / (right.spread || 1);
  return Array.from(items, (item) => ({ item, gap: gap(item) }))
    .sort((x, y) => Math.abs(y.gap) - Math.abs(x.gap))
    .slice(0, n);
}

/** Share of rows in which both put the same response first. @param {Table} table @param {Float64Array} a @param {Float64Array} b */
export function agreement(table, a, b) {
  let [same, all] = [0, 0];
  for (const items of groups(table, sound(a, b))) {
    if (items.length < 2) continue;
    const best = (/** @type {Float64Array} */ column) => items.reduce((x, y) => (column[y] > column[x] ? y : x));
    all++;
    if (best(a) === best(b)) same++;
  }
  return all ? same / all : NaN;
}
