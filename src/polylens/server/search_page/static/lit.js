// "Why this page", over an opened page: the words of the query, each of which lights the places where it matches.

import * as api from "./api.js";
import { find, make, sentence } from "./dom.js";
import { paint } from "./heat.js";

let answer = null; // of the server, for the page that is open
let pinned = "whole"; // "whole", the number of a word, or null for none; "whole" and null outlive the page
let request = null;

export function hideLit() {
  request?.abort();
  answer = null;
  if (typeof pinned === "number") pinned = "whole";
  find("why").hidden = true;
  find("heat").hidden = true;
  find("why-status").textContent = "";
}

/** Asks where a page matches a query, and offers the words to choose from. */
export async function showLit(query, file, page) {
  hideLit();
  find("why").hidden = false;
  find("words").replaceChildren(make("span", { className: "looking" }, "Looking where it matches…"));
  request = new AbortController();
  try {
    answer = await api.why(query, file, page, request.signal);
  } catch (error) {
    if (error.name !== "AbortError") find("words").replaceChildren(make("span", {}, sentence(error.message)));
    return;
  }
  if (!answer.rows) {
    find("words").replaceChildren(make("span", { className: "looking" }, "The model cannot say where on the page."));
    return;
  }
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
  if (!canvas.hidden) find("why-status").textContent = paint(canvas, answer, choice);
}
