// The text of a page laid over its picture, unseen, so that it can be selected and copied where it stands.

import { make } from "./dom.js";

const FONT = "sans-serif"; // as in the style sheet
const pen = document.createElement("canvas").getContext("2d");

/**
 * An element that covers the picture.
 *
 * @param words Of the page: [text, left, top, width, height], the last four in shares of the picture.
 * @param ratio Width of the picture divided by its height.
 */
export function lettersOf(words, ratio) {
  const layer = make("div", { className: "letters", "aria-hidden": "true" }); // the same text stands beside the picture
  words.forEach((word, at) => {
    const [, , top, , height] = word;
    const following = words[at + 1];
    const endsLine = !following || Math.abs(following[2] + following[4] / 2 - top - height / 2) > height / 2;
    layer.append(letters(word, ratio, endsLine ? "" : " "));
    if (endsLine) layer.append(make("br"));
  });
  return layer;
}

/** A word as large as its box: its height gives the size of the letters, and they are stretched to its width. */
function letters([text, left, top, width, height], ratio, space) {
  const element = make("span", { dir: "auto" }, text + space);
  pen.font = `100px ${FONT}`;
  const natural = pen.measureText(text).width / 100; // times its height
  const place = { left: `${100 * left}%`, top: `${100 * top}%`, "font-size": `${100 * height}cqh` };
  for (const [name, value] of Object.entries(place)) element.style.setProperty(name, value);
  if (natural) element.style.setProperty("transform", `scaleX(${(width * ratio) / (natural * height)})`);
  return element;
}
