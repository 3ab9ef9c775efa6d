// The list of found pages.

import * as api from "./api.js";
import { counted, find, icon, make, marked, sentence } from "./dom.js";
import { languageName } from "./facets.js";
import { RANKINGS } from "./state.js";

const KINDS = {
  pdf: "PDF", image: "Picture", text: "Text", document: "Document", slides: "Slides", sheet: "Sheet",
};
const SCORES = { fused: "fused_score", late: "late_score", dense: "dense_score", text: "text_score" };
const MISSED = { dense: "not among the nearest dense vectors", text: "no word of the query in its text" };
const THUMBNAIL_WIDTH = 480; // pixels, for screens with two a CSS pixel

/**
 * Shows results.
 *
 * @param found The server's answer, or null before anything was asked.
 * @param state What is asked, for the words to mark, what ranks and the least score.
 * @param addressOf Address of an opened result, so that it can also be opened in a tab of its own.
 */
export function showResults(found, state, addressOf) {
  const shown = found ? found.results.filter((result) => !state.least || result.late_score >= state.least) : [];
  find("results").replaceChildren(...shown.map((result) => card(result, state, addressOf)));
  find("hint").hidden = found !== null;
  find("count").textContent = found ? summary(found, shown.length, state.least) : "";
}

function summary(found, shown, least) {
  const total = found.results.length;
  if (!total) return sentence(found.reason ?? "");
  if (!shown) {
    const best = Math.max(...found.results.map((result) => result.late_score));
    return `None of ${counted(total, "page")} has a late score of ${least.toFixed(2)} or more; the best has `
      + `${best.toFixed(2)}.`;
  }
  const part = shown < total ? `${shown} of ${counted(total, "page")}` : counted(total, "page");
  return `${part}, best first, in ${found.seconds.toFixed(2)} s${reranking(found.reranked)}`;
}

/** How far the reranker came. */
function reranking(reranked) {
  if (!reranked) return "";
  const { model, pages, scored, seconds } = reranked;
  const all = scored === pages ? `the first ${counted(pages, "page")}` : `${scored} of the first ${counted(pages, "page")}`;
  return `; ${model.replace(/@.*$/, "")} reranked ${all} in ${seconds.toFixed(2)} s`;
}

function card(result, { q: query, by }, addressOf) {
  const { file, page } = result;
  const link = make("a", { className: "open", href: addressOf(result), title: file },
    make("span", { className: "file" }, file.replace(/^.*\//, "")), make("span", { className: "unseen" }, ", "),
    make("span", { className: "where" }, whereabouts(result)));
  const alike = make("button", { type: "button", className: "button quiet alike", title: "More like this" },
    icon("alike"), make("span", { className: "unseen" }, `More like ${file}, page ${page}`));
  for (const element of [link, alike]) Object.assign(element.dataset, { file, page });
  return make("li", { className: "card" }, thumbnail(result, query),
    make("div", { className: "about" }, link, alike),
    result.text && result.picture ? snippet(result, query) : null,
    make("dl", { className: "scores" }, ...scores(result, by)));
}

/** The reranker's score where it gave one, by which the page then stands where it does, and those of the stages. */
function scores(result, by) {
  const { rerank_score: value } = result;
  if (value === null) return Object.keys(SCORES).map((stage) => score(result, stage, by));
  const reranked = make("div", { className: "ranks", title: "The reranker’s score: the higher, the better the page answers" },
    make("dt", {}, "Rerank"), make("dd", {}, value.toFixed(2)));
  return [reranked, ...Object.keys(SCORES).map((stage) => score(result, stage, null))];
}

/** What one stage says of a page; a dash where it did not find it. */
function score(result, stage, by) {
  const value = result[SCORES[stage]];
  const said = value === null
    ? [make("span", { ariaHidden: "true" }, "–"), make("span", { className: "unseen" }, MISSED[stage])]
    : [value.toFixed(2)];
  const title = value === null ? sentence(MISSED[stage]) : stage === "text" ? "BM25: the greater, the more telling words"
    : "1 is a perfect match";
  return make("div", { className: stage === by ? "ranks" : "", title },
    make("dt", {}, RANKINGS[stage]), make("dd", {}, ...said));
}

const snippet = ({ text, language }, query) =>
  make("p", { className: "snippet", dir: "auto", lang: language }, ...marked(text, query));

function whereabouts({ file, page, pages, kind, language }) {
  const folder = file.includes("/") ? [file.replace(/\/[^/]*$/, "")] : [];
  const spoken = language ? [languageName(language)] : [];
  return [pages > 1 ? `page ${page} of ${pages}` : KINDS[kind], ...spoken, ...folder].join(" · ");
}

function thumbnail(result, query) {
  if (!result.picture) {
    return make("div", { className: "thumbnail written" }, snippet(result, query));
  }
  const image = make("img", {
    alt: "", // the link beside it says what it is
    loading: "lazy",
    decoding: "async",
    src: api.pageAddress(result.file, result.page, THUMBNAIL_WIDTH),
  });
  return make("div", { className: "thumbnail" }, image);
}
