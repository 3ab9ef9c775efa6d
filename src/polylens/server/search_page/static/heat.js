// "Why this result": where on the page the words of the query find their match.

import * as api from "./api.js";
import { find, make, sentence } from "./dom.js";

// From nothing over amber to a deep red. The page stays readable below the strongest spot.
const COLD = [255, 196, 0];
const HOT = [196, 22, 58];
const MOST_OPAQUE = 0.68;

let answer = null; // of the server, for the page that is open
let pinned = "whole"; // "whole", the number of a word, or null for none; "whole" and null outlive the page
let request = null;

export function hideHeat() {
  request?.abort();
  answer = null;
  if (typeof pinned === "number") pinned = "whole";
  find("why").hidden = true;
  find("heat").hidden = true;
  find("why-status").textContent = "";
}

/** Asks where a page matches a query, and offers the words to choose from. */
export async function showHeat(query, file, page) {
  hideHeat();
  if (!query) return;
  find("why").hidden = false;
  find("words").replaceChildren(make("span", { className: "looking" }, "Looking where it matches…"));
  request = new AbortController();
  try {
    answer = await api.why(query, file, page, request.signal);
  } catch (error) {
    if (error.name !== "AbortError") find("words").replaceChildren(make("span", {}, sentence(error.message)));
    return;
  }
  find("why").hidden = !answer.rows; // of a text, which has no places
  find("words").replaceChildren(chip("whole", "Whole query"),
    ...answer.words.map((word, number) => chip(number, word.text, word.score)));
  draw(pinned);
}

function chip(choice, label, score) {
  const button = make("button", { type: "button", className: "word", "aria-pressed": String(choice === pinned) }, label);
  if (score !== undefined) button.title = `Best match on this page: ${score.toFixed(2)}`;
  button.addEventListener("pointerenter", () => draw(choice));
  button.addEventListener("focus", () => draw(choice));
  button.addEventListener("pointerleave", () => draw(pinned));
  button.addEventListener("blur", () => draw(pinned));
  button.addEventListener("click", () => pin(button, choice));
  return button;
}

function pin(button, choice) {
  pinned = pinned === choice ? null : choice;
  for (const each of find("words").children) each.setAttribute("aria-pressed", String(each === button && pinned !== null));
  draw(pinned);
}

function draw(choice) {
  const canvas = find("heat");
  canvas.hidden = choice === null || !answer?.rows;
  if (canvas.hidden) return;
  const heat = choice === "whole" ? answer.whole : answer.words[choice].heat;
  canvas.width = answer.columns;
  canvas.height = answer.rows; // one pixel a patch; the browser makes it smooth
  const picture = new ImageData(answer.columns, answer.rows);
  heat.forEach((value, patch) => picture.data.set(colour(value), 4 * patch));
  canvas.getContext("2d").putImageData(picture, 0, 0);
  describe(canvas, choice, heat);
}

function colour(value) {
  const mixed = COLD.map((cold, channel) => cold + (HOT[channel] - cold) * value);
  return [...mixed, 255 * MOST_OPAQUE * value ** 1.5];
}

/** The same for people who do not see it. */
function describe(canvas, choice, heat) {
  const peak = heat.indexOf(Math.max(...heat));
  const row = ["top", "middle", "bottom"][Math.floor((3 * Math.floor(peak / answer.columns)) / answer.rows)];
  const column = ["left", "centre", "right"][Math.floor((3 * (peak % answer.columns)) / answer.columns)];
  const name = choice === "whole" ? "Whole query" : answer.words[choice].text;
  canvas.dataset.choice = choice;
  canvas.setAttribute("aria-label", `Heat map, ${name}: strongest at the ${row} ${column}`);
  find("why-status").textContent = `${name}: strongest at the ${row} ${column}`;
}
