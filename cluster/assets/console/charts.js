/** Charts, drawn by uPlot, in the colors of the page. */

/** @type {any} */
const { uPlot } = /** @type {any} */ (window);

const HEIGHT = 220;
const COLORS = ["--accent", "--second", "--third"];
/** @type {WeakMap<HTMLElement, any>} */
const drawn = new WeakMap();

/** @param {string} name */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** @param {HTMLElement} place @param {any} options @param {any[]} data */
function draw(place, options, data) {
  const width = Math.max(240, place.clientWidth);
  drawn.get(place)?.destroy();
  const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 } };
  const axes = (options.axes ?? [{}, {}]).map((/** @type {any} */ own) => ({ ...axis, ...own }));
  const cursor = { points: { show: false }, drag: { setScale: false }, ...options.cursor };
  drawn.set(place, new uPlot({ width, height: HEIGHT, ...options, axes, cursor }, data, place));
}

/**
 * Curves over time. Draws anew only where the curves are others.
 * @param {HTMLElement} place
 * @param {number[]} times seconds since 1970
 * @param {[string, number[]][]} curves
 */
export function lines(place, times, curves) {
  const data = [times, ...curves.map(([, values]) => values.map((v) => (Number.isFinite(v) ? v : null)))];
  const made = drawn.get(place);
  if (made && made.width === Math.max(240, place.clientWidth)) {
    made.setData(data);
    return;
  }
  const series = curves.map(([label], i) => ({ label, stroke: color(COLORS[i]), width: 2, points: { show: false } }));
  const scales = { y: { range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => [0, high > 0 ? high * 1.1 : 1] } };
  draw(place, { series: [{}, ...series], scales, legend: { show: curves.length > 1, live: false }, axes: [{ values: clock, space: 80 }, { size: 60 }] }, data);
}

/** @param {any} _ @param {number[]} times */
function clock(_, times) {
  return times.map((time) => new Date(time * 1000).toLocaleTimeString("en-GB"));
}

/** @param {HTMLElement} place @param {ArrayLike<number>} values @param {string} label */
export function histogram(place, values, label) {
  const { low, width, counts } = bins(values);
  const centers = counts.map((_, i) => low + (i + 0.5) * width);
  const series = [{ label }, { label: "count", stroke: color("--accent"), fill: `${color("--accent")}66`,
    paths: uPlot.paths.bars({ size: [0.95, 100] }), points: { show: false } }];
  draw(place, { series, scales: { x: { time: false } }, axes: [{ label }, { size: 60 }], legend: { show: false } }, [centers, counts]);
}

/** @param {ArrayLike<number>} values @param {number} [n] */
function bins(values, n = 40) {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < values.length; i++) {
    low = Math.min(low, values[i]);
    high = Math.max(high, values[i]);
  }
  const width = (high - low) / n || 1;
  const counts = new Array(n).fill(0);
  for (let i = 0; i < values.length; i++) {
    counts[Math.min(n - 1, Math.floor((values[i] - low) / width))]++;
  }
  return { low, width, counts };
}

/**
 * A point each; `xs` need not be in order.
 * @param {HTMLElement} place
 * @param {ArrayLike<number>} xs
 * @param {ArrayLike<number>} ys
 * @param {[string, string]} labels
 */
export function scatter(place, xs, ys, labels) {
  const order = Uint32Array.from(xs, (_, i) => i).sort((a, b) => xs[a] - xs[b]);
  const data = [Array.from(order, (i) => xs[i]), Array.from(order, (i) => ys[i])];
  const size = xs.length > 5000 ? 2 : 4;
  const series = [{ label: labels[0] }, { label: labels[1], paths: dots(size, `${color("--accent")}59`), points: { show: false } }];
  draw(place, { series, scales: { x: { time: false } }, axes: [{ label: labels[0] }, { label: labels[1], size: 60 }], legend: { show: false } }, data);
}

/** One canvas path for all points: 100,000 of them take some 50 ms. @param {number} size @param {string} fill */
function dots(size, fill) {
  return (/** @type {any} */ chart, /** @type {number} */ index) => {
    const { ctx } = chart;
    const [xs, ys] = [chart.data[0], chart.data[index]];
    const edge = size * devicePixelRatio;
    ctx.save();
    ctx.fillStyle = fill;
    for (let i = 0; i < xs.length; i++) {
      ctx.fillRect(chart.valToPos(xs[i], "x", true) - edge / 2, chart.valToPos(ys[i], "y", true) - edge / 2, edge, edge);
    }
    ctx.restore();
    return null;
  };
}
