// Prices and the fan of what may come, seen from a day that a slider chooses.
import { drawFan } from "./chart.js";
import { asker, element, getJson, settled } from "./common.js";

const DAY = 86_400_000;
const toDay = (date) => Math.round(Date.parse(date) / DAY);
const toDate = (day) => new Date(day * DAY).toISOString().slice(0, 10);

export async function startForecasting(panel) {
  const select = panel.querySelector("select");
  const slider = panel.querySelector("input[type=range]");
  const output = panel.querySelector(".chosen");
  const charts = [...panel.querySelectorAll("svg")];
  const readout = panel.querySelector(".readout");
  let prices = null; // The file that is shown: its ticker and its bytes.
  let drawn = null;
  const files = new Map(); // The visitor's own, by ticker.

  function price(value) {
    return value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: value < 10 ? 4 : 2 });
  }

  function line(quantiles) {
    return `median ${price(quantiles["0.5"])} · 50 % ${price(quantiles["0.25"])} to ${price(quantiles["0.75"])} · 80 % ${price(quantiles["0.1"])} to ${price(quantiles["0.9"])} · 95 % ${price(quantiles["0.025"])} to ${price(quantiles["0.975"])}`;
  }

  // A place is an index into the days shown: the past, then the forecast.
  function readAt(place) {
    const { past, days, outcome, plain } = drawn;
    for (const chart of charts) chart.moveCursor(place);
    if (place < past.length) {
      readout.textContent = `${past[place][0]}: ${price(past[place][1])}`;
      return;
    }
    const ahead = place - past.length;
    const happened = outcome[ahead] ? ` · happened: ${price(outcome[ahead][1])}` : "";
    readout.replaceChildren(
      element("strong", `${days[ahead].date}${happened}`),
      element("br"),
      `network: ${line(days[ahead].quantiles)}`,
      element("br"),
      `baseline: ${line(plain[ahead])}`,
    );
  }

  function draw() {
    if (!drawn) return;
    const { past, days, outcome, plain } = drawn;
    const fans = [days.map((day) => day.quantiles), plain];
    const values = [...past.map(([, value]) => value), ...outcome.map(([, value]) => value)];
    for (const fan of fans) values.push(...fan.flatMap((row) => [row["0.025"], row["0.975"]]));
    const dates = [...past.map(([date]) => date), ...days.map(({ date }) => date)];
    const range = [Math.min(...values), Math.max(...values)];
    charts.forEach((chart, index) => {
      drawFan(chart, { dates, past, outcome, fan: fans[index], range, plain: index === 1, onMove: readAt });
    });
  }

  function showTable({ days, outcome }) {
    const head = element("tr");
    for (const name of ["date", "median", "50 %", "80 %", "95 %", "happened"]) head.append(element("th", name));
    const rows = days.map(({ date, quantiles: q }, index) => {
      const row = element("tr");
      const cells = [date, price(q["0.5"])];
      for (const [low, high] of [["0.25", "0.75"], ["0.1", "0.9"], ["0.025", "0.975"]]) cells.push(`${price(q[low])}–${price(q[high])}`);
      cells.push(outcome[index] ? price(outcome[index][1]) : "");
      row.append(...cells.map((cell) => element("td", cell)));
      return row;
    });
    panel.querySelector("table").replaceChildren(head, ...rows);
  }

  const ask = asker(panel, (answer) => {
    const { chart, days, origin, close, ticker } = answer;
    // The outcome's own dates hold; days ahead of it are those of the exchange's calendar.
    chart.outcome.forEach(([date], index) => {
      days[index].date = date;
    });
    drawn = { ...chart, days };
    slider.min = toDay(chart.first_day);
    slider.max = toDay(chart.last_day);
    slider.value = toDay(origin);
    output.textContent = origin;
    slider.setAttribute("aria-valuetext", origin);
    const last = days.at(-1);
    panel.querySelector(".summary").textContent =
      `${ticker} closed at ${price(close)} on ${origin}. On ${last.date} it lies between ${price(last.quantiles["0.1"])} and ` +
      `${price(last.quantiles["0.9"])} with a probability of 80 %, and above today's price with ${Math.round(100 * last.probability_of_rise)} %.`;
    panel.querySelector(".warnings").textContent = chart.warnings.join(" ");
    panel.querySelector(".answer").hidden = false;
    showTable(drawn);
    draw();
    readAt(chart.past.length + days.length - 1);
  });

  function forecast(day = null) {
    if (!prices) return;
    ask((signal) => {
      const query = new URLSearchParams({ ticker: prices.ticker, chart: true });
      if (day !== null) query.set("as_of", toDate(day));
      return getJson(`api/forecasting?${query}`, { method: "POST", body: prices.content, signal });
    });
  }

  async function choose(ticker) {
    if (files.has(ticker)) {
      prices = { ticker, content: files.get(ticker) };
      return forecast();
    }
    const response = await fetch(`api/tickers/${encodeURIComponent(ticker)}`);
    prices = { ticker, content: await response.blob() };
    return forecast();
  }

  slider.addEventListener("input", () => {
    output.textContent = toDate(Number(slider.value));
  });
  slider.addEventListener("input", settled(80, () => forecast(Number(slider.value))));
  select.addEventListener("change", () => choose(select.value));
  panel.querySelector("input[type=file]").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    if (!file) return;
    const ticker = file.name.replace(/\.csv$/i, "").replace(/[^A-Za-z0-9.^=-]/g, "").slice(0, 32) || "prices";
    files.set(ticker, file);
    if (![...select.options].some((option) => option.value === ticker)) select.append(element("option", ticker));
    select.value = ticker;
    choose(ticker);
    target.value = "";
  });
  new ResizeObserver(draw).observe(panel.querySelector(".charts"));

  const { tickers } = await getJson("api/tickers");
  select.replaceChildren(...tickers.map((ticker) => element("option", ticker)));
  await choose(tickers[0]);
}
