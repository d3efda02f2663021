/** Scored rows: a JSONL file (or a JSON array) as columns of numbers, read in portions. */

/**
 * @typedef {object} Table
 * @property {any[]} rows as they stand in the file
 * @property {number} broken lines that are no JSON object, or rows without a number
 * @property {number} failed rows with an error
 * @property {Map<string, Float64Array>} columns reward by item, NaN where there is none
 * @property {Int32Array} row of an item
 * @property {Int32Array} response its place in the row
 * @property {Float64Array} length characters of the response
 */

const PORTION = 2000;
/** Keys that may hold rewards; other numbers of a row mean something else. */
const REWARDS = /reward|score|rating|logit/i;

/**
 * @param {Blob} file
 * @param {(share: number) => void} progress
 * @returns {Promise<Table>}
 */
export async function readTable(file, progress) {
  const table = new TableBuilder();
  let held = "";
  let seen = 0;
  let first = true;
  const reader = file.stream().pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (first && value?.trimStart().startsWith("[")) return ofArray(file);
    first = false;
    held += value ?? "";
    const lines = held.split("\n");
    held = done ? "" : (lines.pop() ?? "");
    for (let at = 0; at < lines.length; at += PORTION) {
      lines.slice(at, at + PORTION).forEach((line) => table.addLine(line));
      await pause();
    }
    if (done) return table.finish();
    seen += value.length;
    progress(Math.min(1, seen / file.size));
  }
}

/** @param {Blob} file */
async function ofArray(file) {
  const table = new TableBuilder();
  for (const [at, row] of JSON.parse(await file.text()).entries()) {
    table.addRow(row);
    if (at % PORTION === 0) await pause();
  }
  return table.finish();
}

/** Lets the page breathe. */
function pause() {
  return new Promise((resolve) => setTimeout(resolve));
}

class TableBuilder {
  /** @type {any[]} */
  rows = [];
  broken = 0;
  failed = 0;
  /** @type {Map<string, number[]>} */
  columns = new Map();
  /** @type {number[]} */
  row = [];
  /** @type {number[]} */
  response = [];
  /** @type {number[]} */
  length = [];

  /** @param {string} line */
  addLine(line) {
    if (!line.trim()) return;
    try {
      this.addRow(JSON.parse(line));
    } catch {
      this.broken++;
    }
  }

  /** @param {any} row */
  addRow(row) {
    if (row === null || typeof row !== "object" || Array.isArray(row)) {
      this.broken++;
      return;
    }
    if (row.error) this.failed++;
    const texts = responsesOf(row);
    const found = rewardsOf(row, texts.length);
    if (!found.size) {
      if (!row.error) this.broken++;
      return;
    }
    const start = this.row.length;
    this.rows.push(row);
    texts.forEach((text, i) => {
      this.row.push(this.rows.length - 1);
      this.response.push(i);
      this.length.push(text.length);
    });
    for (const [name, values] of found) {
      const column = this.columns.get(name) ?? [];
      this.columns.set(name, column);
      while (column.length < start) column.push(NaN);
      column.push(...values);
    }
  }

  /** @returns {Table} */
  finish() {
    const n = this.row.length;
    const columns = new Map([...this.columns].map(([name, values]) => {
      const filled = new Float64Array(n).fill(NaN);
      filled.set(values);
      return [name, filled];
    }));
    return {
      rows: this.rows, broken: this.broken, failed: this.failed, columns,
      row: Int32Array.from(this.row), response: Int32Array.from(this.response),
      length: Float64Array.from(this.length),
    };
  }
}

/** The texts that a row's rewards belong to. @param {any} row @returns {string[]} */
export function responsesOf(row) {
  if (Array.isArray(row.responses)) return row.responses.map(lastText);
  if (row.chosen !== undefined && row.rejected !== undefined) return [lastText(row.chosen), lastText(row.rejected)];
  if (row.output_1 !== undefined && row.output_2 !== undefined) return [lastText(row.output_1), lastText(row.output_2)];
  return [lastText(row.response ?? row.messages ?? row.text ?? "")];
}

/** @param {any} value */
function lastText(value) {
  const last = Array.isArray(value) ? value.at(-1) : value;
  const text = last?.content ?? last?.value ?? last;
  return typeof text === "string" ? text : JSON.stringify(text ?? "");
}

/** Columns by name, each with a number for every response. @param {any} row @param {number} n */
function rewardsOf(row, n) {
  /** @type {Map<string, number[]>} */
  const found = new Map();
  for (const [name, value] of Object.entries(row)) {
    if (!REWARDS.test(name)) continue;
    if (Array.isArray(value) && value.length === n && value.some(isNumber)) {
      found.set(common(name), value.map((v) => (isNumber(v) ? v : NaN)));
    } else if (n === 1 && isNumber(value)) {
      found.set(common(name), [value]);
    } else if (n === 2 && /^chosen_/.test(name)) {
      const other = row[name.replace("chosen_", "rejected_")];
      if (isNumber(value) || isNumber(other)) {
        found.set(common(name.slice(7)), [value, other].map((v) => (isNumber(v) ? v : NaN)));
      }
    }
  }
  return found;
}

/** One column of what is `reward` in one row and `rewards` in another. @param {string} name */
function common(name) {
  return name.replace(/^(.*(?:reward|score))s\b/, "$1");
}

/** @param {any} value */
function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
