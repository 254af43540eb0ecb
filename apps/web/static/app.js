// The tabs, and what all of them share.
import { startCaptioning } from "./captioning.js";
import { startForecasting } from "./forecasting.js";
import { element, getJson } from "./common.js";
import { startSentiment } from "./sentiment.js";
import { startTranslation } from "./translation.js";

const starts = {
  sentiment: startSentiment,
  translation: startTranslation,
  captioning: startCaptioning,
  forecasting: startForecasting,
};
const tabs = [...document.querySelectorAll("[role=tab]")];
const started = new Set();

function show(task) {
  for (const tab of tabs) {
    const chosen = tab.getAttribute("aria-controls") === task;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (!started.has(task)) {
    started.add(task);
    starts[task](document.getElementById(task));
  }
}

function fromAddress() {
  const task = location.hash.slice(1);
  show(task in starts ? task : "sentiment");
}

for (const tab of tabs) {
  tab.addEventListener("click", () => {
    location.hash = tab.getAttribute("aria-controls");
  });
  tab.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -tabs.indexOf(tab), End: -1 - tabs.indexOf(tab) };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(tab) + steps[event.key] + tabs.length) % tabs.length];
    location.hash = next.getAttribute("aria-controls");
    next.focus();
  });
}
window.addEventListener("hashchange", fromAddress);
fromAddress();

const { models } = await getJson("api/models");
for (const { task, weaknesses } of models) {
  const details = document.querySelector(`#${task} .weak`);
  // The server renders the model card, whose own HTML stays text.
  details.querySelector("p").innerHTML = weaknesses;
  const link = element("a", `Model card: data, scores, limits`);
  link.href = `models/${task}`;
  details.append(link);
}
