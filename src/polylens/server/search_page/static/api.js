// What the page asks of the server. Every error is an Error whose message the server wrote for people.

import { askForKey, authorized } from "./login.js";

async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, authorized(options));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.ok) return response.json();
  if (response.status === 401) {
    await askForKey(); // the server was started anew, with other keys
    return ask(address, options);
  }
  const problem = await response.json().catch(() => ({}));
  const detail = problem.detail?.message ?? problem.detail; // an object where the published service sends one
  throw new Error(detail || `The server answered ${response.status}.`);
}

const post = (address, body, signal) =>
  ask(address, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });

const place = (file, page) => new URLSearchParams({ file, page });

export const library = () => ask("/library");
export const search = (wish, signal) => post("/library/search", wish, signal);
export const why = (query, file, page, signal) => post("/library/why", { query, file, page }, signal);
export const text = (file, page, signal) => ask(`/library/text?${place(file, page)}`, { signal });
export const unsearchable = (offset) => ask(`/library/unsearchable?offset=${offset}`);
export const models = () => ask("/v1/models");
export const embed = (body, signal) => post("/v1/embeddings", body, signal);
export const rerank = (body, signal) => post("/v1/rerank", { ...body, return_documents: false }, signal);

export const pageAddress = (file, page, width) => `/library/page?${place(file, page)}&width=${width}`;
export const fileAddress = (file) => `/library/file?${new URLSearchParams({ file })}`;

/** What a page is by its file's name, for pages that were opened without a search. */
export function kindOf(file) {
  if (/\.pdf$/i.test(file)) return "pdf";
  return /\.(png|jpe?g|jpe|jfif|webp|tiff?|gif|bmp|dib)$/i.test(file) ? "image" : "text";
}

/** Whether a page of a kind is looked at; any other is read. */
export const hasPicture = (kind) => kind === "pdf" || kind === "image";
