// What the four tabs share: asking the service, showing an error, building elements.

export async function getJson(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer: is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `The service answers with status ${response.status}.`);
  return answer;
}

export function postJson(path, content, options = {}) {
  const headers = { "Content-Type": "application/json" };
  return getJson(path, { method: "POST", headers, body: JSON.stringify(content), ...options });
}

export function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

// Returns a function that asks for a panel's latest request alone, and shows what went wrong.
export function asker(panel, show) {
  const error = panel.querySelector(".error");
  let running = null;
  return async function ask(request) {
    running?.abort();
    const mine = (running = new AbortController());
    panel.classList.add("busy");
    try {
      const answer = await request(mine.signal);
      if (mine !== running) return;
      error.hidden = true;
      show(answer);
    } catch (fault) {
      if (mine !== running) return;
      error.textContent = fault.message;
      error.hidden = false;
      panel.querySelector(".answer").hidden = true;
    } finally {
      if (mine === running) panel.classList.remove("busy");
    }
  };
}

// Calls a function once nothing has happened for a while.
export function settled(milliseconds, call) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(call, milliseconds, ...values);
  };
}

// Lists hypotheses with their scores; the chosen one is shown.
export function listHypotheses(list, hypotheses, choose) {
  list.replaceChildren(
    ...hypotheses.map((hypothesis, index) => {
      const item = element("li");
      const button = element("button", hypothesis.text);
      button.type = "button";
      button.setAttribute("aria-pressed", index === 0);
      button.append(" ", element("small", hypothesis.score.toFixed(3)));
      button.addEventListener("click", () => {
        for (const other of list.querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
        choose(hypothesis);
      });
      item.append(button);
      return item;
    }),
  );
  choose(hypotheses[0]);
}
