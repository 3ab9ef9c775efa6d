// What is asked: the words, a picture or a page beside them, how it is ranked, and how it is listed.

import * as api from "./api.js";
import { find, icon, later, make } from "./dom.js";
import { closeWhenLeft } from "./facets.js";
import { numFilters, RANKED_BY, RANKINGS } from "./state.js";

let rerankers = []; // names of the served models that score pages together with a query

/** @param names Of the served rerankers. */
export function setRerankers(names) {
  rerankers = names;
}

/** Shows what a state asks for. */
export function showForm(state, go) {
  if (find("q").value.trim() !== state.q) find("q").value = state.q;
  for (const choice of document.getElementsByName("by")) choice.checked = choice.value === state.by;
  find("ranking-shown").textContent = state.by === RANKED_BY ? "Ranking" : `Ranking: ${RANKINGS[state.by]}`;
  find("ranking").classList.toggle("chosen", state.by !== RANKED_BY || state.rerank !== "");
  showRerankers(state);
  find("good").checked = state.good;
  find("grouped").checked = state.grouped;
  const filters = numFilters(state);
  find("filters-shown").textContent = filters ? `Filters (${filters})` : "Filters";
  const given = [];
  if (state.image) given.push(token("Picture", state.image, { image: null }, go));
  if (state.like) {
    const { file, page } = state.like;
    const source = api.hasPicture(api.kindOf(file)) ? api.pageAddress(file, page, 120) : null;
    given.push(token(`Like ${file}, page ${page}`, source, { like: null }, go));
  }
  find("given").replaceChildren(...given);
  find("q").placeholder = state.image ? "What should be different, or what is it about?" : "What are you looking for?";
}

/** The served rerankers, where there are any; one of an old address is offered as well, so that it can be left. */
export function showRerankers(state) {
  const names = [...new Set([...rerankers, ...(state.rerank ? [state.rerank] : [])])];
  find("rerank").replaceChildren(new Option("Off", ""), ...names.map((name) => new Option(name.replace(/^.*\//, ""), name)));
  find("rerank").value = state.rerank;
  find("rerank").disabled = state.like !== null; // only what was asked for in words or by a picture
  find("rerank-label").hidden = !names.length;
}

/** Something to search by that is not words, with a button that takes it away again. */
function token(label, source, without, go) {
  const remove = make("button", { type: "button", className: "button quiet" }, icon("close"),
    make("span", { className: "unseen" }, `Remove: ${label}`));
  remove.addEventListener("click", () => {
    go(without);
    find("q").focus();
  });
  const picture = source ? make("img", { src: source, alt: "" }) : null;
  return make("span", { className: "token" }, picture, make("span", {}, label), remove);
}

/**
 * @param actions { current(): the state, go(changes, options), picture(files): a picture to search by,
 *   again(): the same is to be asked once more if that failed }.
 */
export function listenToForm({ current, go, picture, again }) {
  let typing = false; // one step in the history for all words
  const searchTyped = () => {
    const q = find("q").value.trim();
    if (q === current().q) return;
    go({ q, like: q ? null : current().like }, { replace: typing });
    typing = true;
  };
  find("q").addEventListener("input", later(400, searchTyped));
  find("q").addEventListener("blur", () => (typing = false));
  find("search").addEventListener("submit", (event) => {
    event.preventDefault();
    searchTyped();
    typing = false;
    again();
  });
  find("picture").addEventListener("change", (event) => {
    picture([...event.target.files]);
    event.target.value = ""; // so that the same one can be chosen again
  });
  for (const choice of document.getElementsByName("by")) {
    choice.addEventListener("change", () => go({ by: choice.value }, { replace: true })); // arrow keys pass by others
  }
  find("rerank").addEventListener("change", (event) => go({ rerank: event.target.value }));
  for (const name of ["good", "grouped"]) {
    find(name).addEventListener("change", (event) => go({ [name]: event.target.checked }));
  }
  for (const menu of document.querySelectorAll("details.menu")) closeWhenLeft(menu);
  find("show-filters").addEventListener("click", () => {
    const shown = find("filters").classList.toggle("shown");
    find("show-filters").setAttribute("aria-expanded", String(shown));
  });
}
