// The market page: one EventSource, a chart per product, three tables. No build step.
// It shows only what the public stream carries; it computes nothing that the
// server has not certified, apart from the difference of two shown prices.
import uPlot from "/static/vendor/uplot/uPlot.esm.js";

const KEEP = 600; // points a chart keeps: ten minutes of one-second batches
const HEIGHT = 210; // pixels of a chart
const $ = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const charts = new Map(); // product id -> {figure, plot, times, clearing, mids}
const lastMid = new Map(); // product id -> newest exchange mid
const names = new Map(); // product id -> name shown
let seen = 0;

const digits = (value) => {
  const size = Math.abs(value);
  return size >= 1000 ? 2 : size >= 1 ? 4 : 6;
};
const number = (value, places) =>
  value === null || value === undefined || !Number.isFinite(value)
    ? "–"
    : value.toLocaleString("en", {
        minimumFractionDigits: places ?? digits(value),
        maximumFractionDigits: places ?? digits(value),
      });
const tiny = (value) =>
  value === null || value === undefined ? "–" : value === 0 ? "0" : Number(value).toExponential(1);
// Everything here is UTC, as the stamps are; 24 hours, seconds where they are needed.
const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);
const byName = ([a, x], [b, y]) => (x.name ?? a).localeCompare(y.name ?? b);

function cell(row, text, kind = "") {
  const td = row.insertCell();
  td.textContent = text;
  if (kind) td.className = kind;
  return td;
}

function chartFor(id) {
  const known = charts.get(id);
  if (known) return known;
  if (charts.size === 0) $("charts").replaceChildren();
  const figure = document.createElement("figure");
  figure.append(document.createElement("figcaption"));
  $("charts").append(figure);
  const axis = { stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const plot = new uPlot(
    {
      width: figure.clientWidth || 420,
      height: HEIGHT,
      legend: { show: false },
      cursor: { drag: { x: true, y: false } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      axes: [{ ...axis, size: 30, space: 80, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 66, space: 24, values: (_, ticks) => ticks.map((t) => t.toLocaleString("en", { maximumFractionDigits: 4 })) }],
      series: [
        {},
        { label: "clearing", stroke: css("--clearing"), width: 2, paths: uPlot.paths.stepped({ align: 1 }), spanGaps: true, points: { show: false } },
        { label: "mid", stroke: css("--mid"), width: 1.5, spanGaps: true, points: { show: false } },
      ],
    },
    [[], [], []],
    figure,
  );
  const chart = { figure, plot, times: [], clearing: [], mids: [] };
  charts.set(id, chart);
  // The grid divides its width anew with every chart, and with the window.
  new ResizeObserver(() => {
    const width = figure.clientWidth;
    if (width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT });
  }).observe(figure);
  return chart;
}

function addPoint(id, seconds, clearing, mid) {
  const chart = chartFor(id);
  const last = chart.times.length - 1;
  if (last >= 0 && seconds <= chart.times[last]) {
    // A reference tick and a batch may bear the same stamp: merge, never go back.
    if (clearing !== null) chart.clearing[last] = clearing;
    if (mid !== null) chart.mids[last] = mid;
  } else {
    chart.times.push(seconds);
    chart.clearing.push(clearing);
    chart.mids.push(mid);
    if (chart.times.length > KEEP * 4) for (const list of [chart.times, chart.clearing, chart.mids]) list.splice(0, list.length - KEEP * 3);
  }
  chart.dirty = true;
}

function drawDirty() {
  for (const [id, chart] of charts) {
    if (!chart.dirty) continue;
    chart.dirty = false;
    chart.plot.setData([chart.times, chart.clearing, chart.mids]);
    const caption = chart.figure.firstElementChild;
    const price = chart.clearing.findLast((value) => value !== null);
    const bold = document.createElement("b");
    bold.textContent = number(price);
    const mid = document.createElement("span");
    mid.textContent = `mid ${number(lastMid.get(id))}`;
    caption.replaceChildren(names.get(id) ?? id, bold, mid);
  }
  requestAnimationFrame(drawDirty);
}

function showProducts(products) {
  const body = $("products").tBodies[0];
  body.replaceChildren();
  for (const [id, product] of Object.entries(products).sort(byName)) {
    const row = body.insertRow();
    const mid = product.reference;
    cell(row, product.name ?? id);
    cell(row, number(product.price), "n");
    cell(row, number(mid), "n");
    const comparable = mid !== null && product.price !== null && mid !== 0;
    cell(row, comparable ? `${number(((product.price - mid) / mid) * 1e4, 2)} bp` : "–", "n");
    cell(row, number(product.rate, 4), "n");
  }
}

function showCertificate(batch) {
  const list = $("certificate");
  list.replaceChildren();
  const add = (term, text, kind) => {
    const row = document.createElement("div");
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = term;
    dd.textContent = text;
    if (kind) dd.className = kind;
    row.append(dt, dd);
    list.append(row);
  };
  const certificate = batch.certificate ?? {};
  const report = batch.report ?? {};
  const cleared = batch.status === "cleared";
  add("verdict", cleared ? certificate.status : batch.status, cleared ? "buy" : "failed");
  if (batch.error) add("reason", batch.error, "failed");
  if (batch.set_aside?.length) add("set aside (numbers out of scale)", batch.set_aside.map((one) => one.portfolio).join(", "), "failed");
  for (const [key, label] of [["relative_gap", "duality gap (relative)"], ["relative_imbalance", "worst product imbalance (relative)"], ["domain", "curve-domain violation"], ["stationarity", "price residual"], ["max_regret", "largest regret of one bid"]])
    if (certificate[key] !== undefined) add(label, tiny(certificate[key]));
  if (!report.solver) return;
  add("solver", report.solver);
  add("iterations", String(report.attempts.at(-1).iterations));
  const total = Object.values(report.seconds).reduce((sum, seconds) => sum + seconds, 0);
  add("build, solve, certify", `${number(total * 1000, 1)} ms`);
}

// A bidder is an id; the page calls it by the word that begins all its portfolios' names,
// or else by a letter, in order of appearance. The id is the tooltip.
const letters = new Map(); // bidder id -> letter
function callBidders(bids) {
  const words = new Map();
  for (const { bidder, name } of bids) {
    const word = /^\p{L}[\p{L}\p{N}_-]*/u.exec(name ?? "")?.[0] ?? "";
    words.set(bidder, [...(words.get(bidder) ?? []), word]);
  }
  const called = new Map();
  for (const [bidder, [first, ...rest]] of words) {
    if (!letters.has(bidder)) letters.set(bidder, letters.size < 26 ? String.fromCharCode(65 + letters.size) : String(letters.size + 1));
    const shared = first !== "" && rest.every((word) => word === first) && first.length < 24;
    called.set(bidder, shared ? first : `bidder ${letters.get(bidder)}`);
  }
  return called;
}

function showBids(bids, total) {
  if (!bids) return;
  const called = callBidders(bids);
  $("bids").hidden = false;
  $("bids-note").hidden = true;
  // Of a long book the first entries are shown; the stream has the rest.
  $("bid-count").textContent = total === undefined ? String(bids.length) : `${number(total, 0)} (${bids.length} shown)`;
  const body = $("bids").tBodies[0];
  body.replaceChildren();
  for (const bid of bids) {
    const row = body.insertRow();
    cell(row, called.get(bid.bidder)).title = bid.bidder;
    cell(row, bid.name ?? bid.portfolio);
    const basis = Object.entries(bid.basis ?? {}).map(([id, weight]) => `${names.get(id) ?? id} × ${number(weight, Number.isInteger(weight) ? 0 : 3)}`);
    cell(row, basis.join(", "));
    cell(row, number(bid.price), "n");
    cell(row, number(bid.rate, 4), "n");
    const side = bid.rate > 0 ? "buy" : bid.rate < 0 ? "sell" : "idle";
    cell(row, side === "idle" ? "no trade" : side === "buy" ? "buys" : "sells", side);
  }
}

const UNITS = new Map([[1, "s"], [60, "min"], [3600, "h"], [86400, "day"]]);
function showUnit(seconds = 3600) {
  const unit = UNITS.get(seconds) ?? `${number(seconds, Number.isInteger(seconds) ? 0 : 3)} s`;
  for (const place of document.querySelectorAll(".per")) place.textContent = ` per ${unit}`;
}

function onBatch(batch) {
  seen += 1;
  showUnit(batch.rate_unit);
  $("count").textContent = String(seen);
  $("as-of").textContent = batch.as_of.replace("T", " ").replace(/(\.\d{1,3})\d*Z$/, "$1").replace("Z", "");
  $("gains").textContent = number(batch.gains, 2);
  const seconds = Date.parse(batch.as_of) / 1000;
  for (const [id, product] of Object.entries(batch.products ?? {}).sort(byName)) {
    if (product.name) names.set(id, product.name);
    if (product.reference !== null && product.reference !== undefined) lastMid.set(id, product.reference);
    addPoint(id, seconds, product.price ?? null, product.reference ?? null);
  }
  showProducts(batch.products ?? {});
  showCertificate(batch);
  showBids(batch.bids, batch.book);
}

function onReference(update) {
  const seconds = Date.parse(update.time) / 1000;
  for (const [id, mid] of Object.entries(update.mids)) {
    lastMid.set(id, mid);
    if (charts.has(id)) addPoint(id, seconds, null, mid);
  }
}

function connect() {
  const source = new EventSource(`/updates?recent=${KEEP * 4}`);
  const link = (state) => {
    $("link").dataset.state = state;
    $("link").textContent = state;
  };
  source.addEventListener("open", () => link("live"));
  source.addEventListener("error", () => {
    // EventSource reconnects by itself with Last-Event-ID, unless it was refused.
    link(source.readyState === EventSource.CLOSED ? "lost" : "connecting");
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
  source.addEventListener("batch", (event) => onBatch(JSON.parse(event.data)));
  source.addEventListener("reference", (event) => onReference(JSON.parse(event.data)));
}

requestAnimationFrame(drawDirty);
connect();
