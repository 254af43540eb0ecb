// A text and its translation; each word shows what it attended to.
import { asker, element, listHypotheses, postJson } from "./common.js";

export function startTranslation(panel) {
  const form = panel.querySelector("form");
  const sourceWords = panel.querySelector(".source-words");
  const targetWords = panel.querySelector(".target-words");

  function colourSource(shares) {
    const greatest = Math.max(...shares, 1e-9);
    [...sourceWords.children].forEach((word, index) => {
      word.style.setProperty("--strength", (0.8 * shares[index]) / greatest);
      word.title = `${Math.round(100 * shares[index])} %`;
    });
  }

  function showCandidate(candidate, parts) {
    panel.querySelector(".translated").textContent = candidate.text;
    const aligned = candidate.attention !== undefined;
    sourceWords.replaceChildren(...(aligned ? candidate.source_words.map((word) => element("span", word, "word")) : []));
    targetWords.replaceChildren(
      ...(aligned ? candidate.words : []).map((text, row) => {
        const word = element("span", text, "word");
        word.tabIndex = 0;
        const shares = candidate.attention[row];
        const most = candidate.source_words[shares.indexOf(Math.max(...shares))];
        word.setAttribute("aria-label", `${text}: attended most to ${most}`);
        for (const event of ["pointerenter", "focus"]) word.addEventListener(event, () => colourSource(shares));
        for (const event of ["pointerleave", "blur"]) word.addEventListener(event, () => colourSource(shares.map(() => 0)));
        return word;
      }),
    );
    panel.querySelector(".answer .note").textContent = aligned
      ? "Point at a word of the translation, or reach it with the tab key: the English words that it attended to take colour." +
        (parts > 1 ? ` The words are those of the first of ${parts} sentences.` : "")
      : "This text is copied or has no attention to show.";
  }

  const ask = asker(panel, ({ translations, parts }) => {
    listHypotheses(panel.querySelector(".hypotheses"), translations, (candidate) => showCandidate(candidate, parts));
    panel.querySelector(".answer").hidden = false;
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = form.querySelector("textarea").value;
    if (!text.trim()) return;
    const settings = {};
    for (const name of ["beam_size", "length_penalty", "n_best"]) settings[name] = Number(form.elements[name].value);
    ask(async (signal) => {
      const { results } = await postJson("api/translation", { texts: [text], ...settings }, { signal });
      return results[0];
    });
  });
  form.querySelector("textarea").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  for (const button of panel.querySelectorAll(".examples button")) {
    button.addEventListener("click", () => {
      form.querySelector("textarea").value = button.textContent;
      form.requestSubmit();
    });
  }
}
