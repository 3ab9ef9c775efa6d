// The list of found pages.

import * as api from "./api.js";
import { crop } from "./crop.js";
import { counted, find, icon, make, sentence } from "./dom.js";
import { languageName } from "./facets.js";
import { putOut, whyPanel } from "./why.js";
import { marked } from "./words.js";

const KINDS = {
  pdf: "PDF", image: "Picture", text: "Text", document: "Document", slides: "Slides", sheet: "Sheet",
};
const CROP_WIDTH = 416; // CSS pixels, as in the style sheet; less where the window is narrower
const SMALL_WIDTH = 160; // pixels of a small picture, for screens with two a CSS pixel
const MOST_OTHERS = 5; // pages of the same file that are shown small

/** The words for a match, from the least that they stand for. */
const MATCHES = [[0.8, "Very good match"], [0.5, "Good match"], [0.25, "Weak match"], [0, "Hardly a match"]];

/**
 * Shows results.
 *
 * @param found What `finding` has, or null before anything was asked.
 * @param state What is asked, for the words to mark and what ranks.
 * @param addressOf Address of an opened result, so that it can also be opened in a tab of its own.
 */
export function showResults(found, state, addressOf) {
  find("results").replaceChildren(...(found?.results ?? []).map((result) => card(result, state, addressOf)));
  find("hint").hidden = found !== null;
  showCount(found);
}

/** Shows further results below the others, and leads to the first of them. */
export function addResults(results, found, state, addressOf) {
  const cards = results.map((result) => card(result, state, addressOf));
  find("results").append(...cards);
  cards[0]?.querySelector(".open").focus();
  showCount(found);
}

function showCount(found) {
  find("count").textContent = found?.results.length ? summary(found) : sentence(found?.reason ?? "");
}

function summary({ results, isAll, seconds, reranked }) {
  const pages = results.reduce((sum, { others }) => sum + 1 + others.length, 0);
  const inFiles = pages > results.length ? ` in ${counted(results.length, "file")}` : "";
  const size = `${isAll ? "" : "First "}${counted(pages, "page")}${inFiles}`;
  return `${size}, best first, in ${seconds.toFixed(2)} s${reranking(reranked)}`;
}

/** How far the reranker came. */
function reranking(reranked) {
  if (!reranked) return "";
  const { model, pages, scored, seconds } = reranked;
  const all = scored === pages ? `the first ${counted(pages, "page")}` : `${scored} of the first ${counted(pages, "page")}`;
  return `; ${model.replace(/@.*$/, "")} reranked ${all} in ${seconds.toFixed(2)} s`;
}

function card(result, state, addressOf) {
  const { file, page } = result;
  const window = result.picture ? crop(result, Math.min(CROP_WIDTH, innerWidth - 24)) : null;
  const link = make("a", { className: "open", href: addressOf(result), title: file },
    make("span", { className: "file" }, file.replace(/^.*\//, "")), make("span", { className: "unseen" }, ", "),
    make("span", { className: "where" }, whereabouts(result)));
  Object.assign(link.dataset, { file, page });
  return make("li", { className: "card" },
    window ?? make("div", { className: "crop written" }, snippet(result, state.q)),
    make("div", { className: "about" }, make("h3", {}, link), match(result),
      result.text && window ? snippet(result, state.q) : null,
      result.others.length ? otherPages(result, addressOf) : null,
      actions(result, state, window)));
}

const snippet = ({ text, language }, query) =>
  make("p", { className: "snippet", dir: "auto", lang: language }, ...marked(text, query));

function whereabouts({ file, page, pages, kind, language }) {
  const folder = file.includes("/") ? [file.replace(/\/[^/]*$/, "")] : [];
  const spoken = language ? [languageName(language)] : [];
  return [pages > 1 ? `page ${page} of ${pages}` : KINDS[kind], ...spoken, ...folder].join(" · ");
}

/** One measure for everyone; the scores behind it are in the panel. Null where the server has none for the index. */
function match({ match: value }) {
  if (value === undefined || value === null) return null;
  const [, words] = MATCHES.find(([least]) => value >= least) ?? MATCHES.at(-1);
  const bar = make("span", { className: "bar", "aria-hidden": "true" }, make("i"));
  bar.firstChild.style.setProperty("width", `${Math.round(100 * value)}%`);
  return make("p", { className: "match", title: `Match ${value.toFixed(2)} of 1` }, bar, words);
}

/** Other pages of the file that match: small, each a link to it. */
function otherPages({ file, others }, addressOf) {
  const links = others.slice(0, MOST_OTHERS).map((other) => {
    const image = other.picture
      ? make("img", { alt: "", loading: "lazy", decoding: "async", src: api.pageAddress(file, other.page, SMALL_WIDTH) })
      : make("span", { className: "lines", dir: "auto", "aria-hidden": "true" }, other.text);
    const link = make("a", { className: "other", href: addressOf(other), title: other.text },
      image, make("span", { className: "unseen" }, `${file}, `), make("span", {}, `page ${other.page}`));
    Object.assign(link.dataset, { file, page: other.page });
    return make("li", {}, link);
  });
  const rest = others.length - links.length;
  return make("div", { className: "others" }, make("p", {}, "Also in this file"), make("ul", {}, ...links,
    rest > 0 ? make("li", { className: "rest" }, `and ${rest} more`) : null));
}

function actions(result, state, window) {
  const { file, page } = result;
  const why = make("button", { type: "button", className: "button quiet", ariaLabel: `Why? ${file}, page ${page}`,
    ariaExpanded: "false" }, "Why?");
  why.addEventListener("click", () => toggleWhy(why, result, state, window));
  const alike = make("button", { type: "button", className: "button quiet alike",
    ariaLabel: `More like this: ${file}, page ${page}` }, icon("alike"), "More like this");
  Object.assign(alike.dataset, { file, page });
  return make("div", { className: "actions" }, why, alike);
}

function toggleWhy(button, result, state, window) {
  const isOpen = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!isOpen));
  if (!isOpen) return button.parentElement.after(whyPanel(result, state, window));
  putOut(window);
  button.parentElement.nextElementSibling.remove();
}
