// Why a page was found: what each stage of the search says of it, and, on its cut-out, where it matches.

import * as api from "./api.js";
import { make, sentence } from "./dom.js";
import { paint } from "./heat.js";
import { RANKINGS } from "./state.js";

/** What each stage compares, and the field of a result that has its score. */
const STAGES = {
  fused: { field: "fused_score", says: "all of the below together; 1 is a perfect match" },
  late: { field: "late_score", says: "each word with the best place of the page; 1 is a perfect match" },
  dense: { field: "dense_score", says: "the page as a whole; 1 is a perfect match", missed: "the page is not among the nearest" },
  text: { field: "text_score", says: "the very words in its text, rare ones count more (BM25)", missed: "no word of the query is in its text" },
};

/**
 * A panel for a result, which fetches the heat map as it is made.
 *
 * @param by What ranks.
 * @param window The cut-out of the page, which is lit; null for a text.
 */
export function whyPanel(hit, { q: query, by }, window) {
  const status = make("p", { className: "lit", role: "status" });
  const ranks = hit.rerank_score === null ? by : "rerank";
  const reranked = hit.rerank_score === null ? []
    : [row("Reranker", hit.rerank_score.toFixed(2), "a model that read the page together with the query", true)];
  if (query && window) light(query, hit, window, status);
  return make("div", { className: "reasons" }, status,
    make("dl", { className: "scores" }, ...reranked, ...Object.keys(STAGES).map((stage) => stageRow(hit, stage, ranks))));
}

/** Takes the heat map off the cut-out again. */
export function putOut(window) {
  window?.querySelector("canvas")?.remove();
}

function stageRow(hit, stage, ranks) {
  const { field, says, missed } = STAGES[stage];
  const value = hit[field];
  if (value === null) return row(RANKINGS[stage], "–", missed, false);
  return row(RANKINGS[stage], value.toFixed(2), says, stage === ranks);
}

const row = (name, value, says, isFirst) => make("div", { className: isFirst ? "ranks" : "" },
  make("dt", {}, name), make("dd", {}, value), make("dd", { className: "says" }, says));

async function light(query, { file, page }, window, status) {
  status.textContent = "Looking where it matches…";
  try {
    const answer = await api.why(query, file, page);
    if (!status.isConnected) return; // closed again
    status.textContent = answer.rows ? "" : "The model cannot say where on the page.";
    if (!answer.rows) return;
    const canvas = make("canvas", { role: "img" });
    window.querySelector(".cut").append(canvas);
    status.textContent = paint(canvas, answer, "whole");
  } catch (error) {
    status.textContent = sentence(error.message);
  }
}
