// A photograph and its caption; each word shows where the network looked.
import { asker, element, getJson, listHypotheses } from "./common.js";

// The service takes 6 MB; a larger photograph is made smaller first.
const MOST_BYTES = 5e6;
const SMALLER = 1600;

async function asUploaded(file, image) {
  if (file.size <= MOST_BYTES) return file;
  const scale = SMALLER / Math.max(image.width, image.height);
  const canvas = new OffscreenCanvas(Math.round(scale * image.width), Math.round(scale * image.height));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
}

export function startCaptioning(panel) {
  const canvas = panel.querySelector("canvas");
  const drop = panel.querySelector(".drop");
  let image = null;

  // Attention is to a square grid over the whole picture, row by row.
  function draw(shares = null) {
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    if (!shares) return;
    const side = Math.sqrt(shares.length);
    const greatest = Math.max(...shares);
    const heat = new ImageData(side, side);
    shares.forEach((share, index) => heat.data.set([255, 90, 0, (190 * share) / greatest], 4 * index));
    const small = new OffscreenCanvas(side, side);
    small.getContext("2d").putImageData(heat, 0, 0);
    context.fillStyle = "rgb(255 255 255 / 35%)";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
  }

  function showCandidate(candidate) {
    const words = (candidate.words ?? candidate.text.split(" ")).map((text, row) => {
      const word = element("span", text, "word");
      if (candidate.attention) {
        word.tabIndex = 0;
        for (const event of ["pointerenter", "focus"]) word.addEventListener(event, () => draw(candidate.attention[row]));
        for (const event of ["pointerleave", "blur"]) word.addEventListener(event, () => draw());
      }
      return word;
    });
    panel.querySelector(".caption").replaceChildren(...words.flatMap((word) => [word, " "]));
    canvas.setAttribute("aria-label", `The photograph: ${candidate.text}`);
    draw();
  }

  const ask = asker(panel, (answer) => {
    image = answer.image;
    const scale = Math.min(1, 900 / Math.max(image.width, image.height));
    canvas.width = Math.round(scale * image.width);
    canvas.height = Math.round(scale * image.height);
    listHypotheses(panel.querySelector(".hypotheses"), answer.captions, showCandidate);
    panel.querySelector(".answer").hidden = false;
  });

  function take(file) {
    ask(async (signal) => {
      // What the browser cannot show is refused by the service, in its own words.
      const picture = await createImageBitmap(file).catch(() => null);
      const body = picture ? await asUploaded(file, picture) : file;
      const name = encodeURIComponent((file.name || "picture").slice(0, 200));
      const answer = await getJson(`api/captioning?n_best=3&name=${name}`, { method: "POST", body, signal });
      if (!picture) throw new Error("This browser cannot show that picture: save it as JPEG or PNG.");
      return { image: picture, captions: answer.captions };
    });
  }

  for (const input of panel.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      if (input.files.length) take(input.files[0]);
      input.value = "";
    });
  }
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
    if (file && !panel.hidden) take(file);
  });
  for (const button of panel.querySelectorAll("[data-picture]")) {
    button.addEventListener("click", async () => {
      const response = await fetch(button.dataset.picture);
      const blob = await response.blob();
      take(new File([blob], button.dataset.picture, { type: blob.type }));
    });
  }
}
