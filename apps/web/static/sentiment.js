// A review, coloured word by word while one types.
import { asker, element, postJson, settled } from "./common.js";

// Of two labels the second one is blue, whatever the verdict; of more it is the verdict.
function sidesOf(result) {
  const labels = Object.keys(result.probabilities);
  if (labels.length !== 2) return { towards: result.label, against: "another", sign: 1 };
  return { towards: labels[1], against: labels[0], sign: result.label === labels[1] ? 1 : -1 };
}

// Returns [start, end, score] of each word. The middle of a long text is not read, so that the
// words of its last three quarters are looked for from the end.
export function placesOf(text, result) {
  const { words, tokens, tokens_read } = result;
  const head = tokens_read < tokens ? Math.floor(words.length / 4) : words.length;
  const places = [];
  let from = 0;
  for (const [word, score] of words.slice(0, head)) {
    const start = text.indexOf(word, from);
    if (start < 0) continue;
    from = start + word.length;
    places.push([start, from, score]);
  }
  let until = text.length;
  for (const [word, score] of words.slice(head).reverse()) {
    const start = text.lastIndexOf(word, until - word.length);
    if (start < from) continue;
    places.push([start, start + word.length, score]);
    until = start;
  }
  return places.sort((a, b) => a[0] - b[0]);
}

export function startSentiment(panel) {
  const area = panel.querySelector("textarea");
  const backdrop = panel.querySelector(".backdrop");
  const answer = panel.querySelector(".answer");
  // What is coloured now: a text, and the places of its words, blue above 0.
  let shown = { text: "", places: [] };

  function paint({ text, places }) {
    shown = { text, places };
    const greatest = Math.max(...places.map(([, , score]) => Math.abs(score)), 1e-9);
    const parts = [];
    let end = 0;
    for (const [start, stop, score] of places) {
      parts.push(text.slice(end, start));
      const word = element("span", text.slice(start, stop), score < 0 ? "word against" : "word");
      word.style.setProperty("--strength", (0.75 * Math.abs(score)) / greatest);
      parts.push(word);
      end = stop;
    }
    // A last line break has no height of its own.
    backdrop.replaceChildren(...parts, `${text.slice(end)}\n`);
    backdrop.scrollTop = area.scrollTop;
  }

  // While the answer is on its way, words that have not changed keep their colour.
  function keepColours(text) {
    const old = shown.text;
    let head = 0;
    while (head < Math.min(old.length, text.length) && old[head] === text[head]) head++;
    let tail = 0;
    const most = Math.min(old.length, text.length) - head;
    while (tail < most && old.at(-1 - tail) === text.at(-1 - tail)) tail++;
    const shift = text.length - old.length;
    const places = shown.places.flatMap(([start, stop, score]) => {
      if (stop <= head) return [[start, stop, score]];
      return start >= old.length - tail ? [[start + shift, stop + shift, score]] : [];
    });
    paint({ text, places });
  }

  const ask = asker(panel, ({ text, result }) => {
    if (area.value !== text) return;
    const { towards, against, sign } = sidesOf(result);
    const places = placesOf(text, result).map(([start, stop, score]) => [start, stop, sign * score]);
    paint({ text, places });
    panel.querySelector(".verdict strong").textContent = result.label;
    panel.querySelector(".verdict span").textContent = `with a probability of ${(100 * result.probability).toFixed(1)} %`;
    panel.querySelector(".meter div").style.width = `${100 * result.probabilities[towards]}%`;
    const strongest = result.words.filter(([word]) => /[\p{L}\p{N}]/u.test(word)).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 5);
    const listed = strongest.map(([word, score]) => `“${word}” for ${score > 0 === sign > 0 ? towards : against}`);
    panel.querySelector(".moved").textContent = `Moved most by ${listed.join(", ")}.`;
    panel.querySelector(".note").textContent =
      result.tokens_read < result.tokens ? `Read ${result.tokens_read} of ${result.tokens} tokens: beginning and end.` : "";
    panel.querySelector(".for-label").textContent = `blue adds to “${towards}”`;
    panel.querySelector(".against-label").textContent = `orange adds to “${against}”`;
    answer.hidden = false;
  });

  const read = settled(120, () => {
    const text = area.value;
    if (!text.trim()) {
      answer.hidden = true;
      panel.querySelector(".error").hidden = true;
      return;
    }
    ask(async (signal) => {
      const { results } = await postJson("api/sentiment", { texts: [text] }, { signal });
      return { text, result: results[0] };
    });
  });
  area.addEventListener("input", () => {
    keepColours(area.value);
    read();
  });
  area.addEventListener("scroll", () => {
    backdrop.scrollTop = area.scrollTop;
  });
  for (const button of panel.querySelectorAll(".examples button")) {
    button.addEventListener("click", () => {
      area.value = button.textContent;
      area.dispatchEvent(new Event("input"));
    });
  }
}
