// A fan chart: the past as a line, then bands that hold the price with 50, 80 and 95 %.

const NAMESPACE = "http://www.w3.org/2000/svg";
const BANDS = [["0.025", "0.975"], ["0.1", "0.9"], ["0.25", "0.75"]];
const MARGIN = { left: 52, right: 8, top: 8, bottom: 24 };
const TICKS = 5;

function shape(name, attributes, text = "") {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// Returns round numbers within a range.
function ticksOf([low, high]) {
  const rough = (high - low) / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) ticks.push(Number(tick.toPrecision(8)));
  return ticks;
}

export function drawFan(svg, { dates, past, outcome, fan, range, plain, onMove }) {
  const { clientWidth: width, clientHeight: height } = svg;
  if (!width) return;
  const pad = 0.05 * (range[1] - range[0]) || 1;
  const [low, high] = [range[0] - pad, range[1] + pad];
  const x = (place) => MARGIN.left + (place / (dates.length - 1)) * (width - MARGIN.left - MARGIN.right);
  const y = (price) => height - MARGIN.bottom - ((price - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
  const path = (points, className) => {
    const d = points.map(([place, price], index) => `${index ? "L" : "M"}${x(place).toFixed(1)} ${y(price).toFixed(1)}`).join("");
    return shape("path", { d, class: className });
  };
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();

  for (const tick of ticksOf([low, high])) {
    svg.append(shape("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }));
    svg.append(shape("text", { x: MARGIN.left - 6, y: y(tick) + 4, "text-anchor": "end" }, tick.toLocaleString("en")));
  }
  let free = MARGIN.left;
  dates.forEach((date, place) => {
    const newMonth = place > 0 && date.slice(0, 7) !== dates[place - 1].slice(0, 7);
    if (!newMonth || x(place) < free || x(place) > width - 50) return;
    svg.append(shape("text", { x: x(place), y: height - 6 }, date.slice(0, 7)));
    free = x(place) + 64;
  });

  const now = past.length - 1;
  const close = past[now][1];
  for (const [lower, upper] of BANDS) {
    const above = fan.map((row, index) => [now + 1 + index, row[upper]]);
    const below = fan.map((row, index) => [now + 1 + index, row[lower]]).reverse();
    const corners = [[now, close], ...above, ...below].map(([place, price]) => `${x(place).toFixed(1)},${y(price).toFixed(1)}`);
    svg.append(shape("polygon", { class: plain ? "plain-band" : "band", points: corners.join(" ") }));
  }
  svg.append(path(past.map(([, price], index) => [index, price]), "past"));
  const median = fan.map((row, index) => [now + 1 + index, row["0.5"]]);
  svg.append(path([[now, close], ...median], plain ? "plain-median" : "median"));
  if (outcome.length) svg.append(path([[now, close], ...outcome.map(([, price], index) => [now + 1 + index, price])], "happened"));

  const cursor = shape("line", { class: "cursor", y1: MARGIN.top, y2: height - MARGIN.bottom });
  svg.append(cursor);
  let current = dates.length - 1;
  svg.moveCursor = (place) => {
    current = place;
    cursor.setAttribute("x1", x(place));
    cursor.setAttribute("x2", x(place));
  };
  const clamp = (place) => Math.max(0, Math.min(dates.length - 1, place));
  svg.onpointermove = (event) => {
    const share = (event.offsetX - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    onMove(clamp(Math.round(share * (dates.length - 1))));
  };
  svg.onkeydown = (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    onMove(clamp(current + steps[event.key]));
  };
}
