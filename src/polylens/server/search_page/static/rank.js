// A tool of the playground: pictures and texts in the order in which they answer a query.

import * as api from "./api.js";
import { counted, find, icon, make } from "./dom.js";

const isReranker = (model) => model.output_modalities.includes("scores");

export const rank = {
  name: "rank",
  path: "/v1/rerank",
  most: 32,
  starters: [],
  runsAtOnce: false, // a reranker may take seconds for a picture
  prompt: "Press Enter in the query, or Rank.",
  canUse: () => true,
  preferred: (models) => models.find(isReranker) ?? models[0],
  missing,
  body: (model, documents) => ({ model, query: query(), documents }),
  clear: () => find("ranked").replaceChildren(),
  busy: (is) => find("ranked").setAttribute("aria-busy", is),
  show,
};

const query = () => find("ranked-by").value.trim();

function missing(shown) {
  if (!shown.length) return "Drop, paste or choose pictures, or give their addresses.";
  return query() ? null : "Type what to look for, in any language.";
}

async function show(wish, shown, items, signal) {
  const started = performance.now();
  const { results } = await api.rerank(wish, signal);
  const seconds = (performance.now() - started) / 1000;
  find("ranked").replaceChildren(...results.map(({ index, relevance_score: score }, at) =>
    card(shown[index], items.indexOf(shown[index]) + 1, at + 1, score)));
  return `${counted(shown.length, "document")}, best first, by ${wish.model.replace(/^.*\//, "")} in ${seconds.toFixed(2)} s`;
}

function card(item, number, place, score) {
  return make("li", { className: "card" }, pictured(item),
    make("p", { className: "ranked-name" }, make("span", { className: "unseen" }, `${place}: `),
      make("span", { title: item.name ?? item.text }, item.text ? `Text ${number}` : item.name)),
    make("dl", { className: "scores" }, make("div", { className: "ranks" },
      make("dt", {}, "Score"), make("dd", {}, score.toFixed(3)))));
}

function pictured(item) {
  if (item.text) return make("div", { className: "thumbnail written" }, make("p", { className: "snippet", dir: "auto" }, item.text));
  if (item.isElsewhere) {
    return make("div", { className: "thumbnail elsewhere" }, icon("picture"), make("span", {}, "Fetched by the server alone"));
  }
  return make("div", { className: "thumbnail" }, make("img", { src: item.image, alt: "" })); // its name stands below
}
