// The words of a query in a text: what is marked in a snippet, and which words of a page are.

import { make } from "./dom.js";

const LETTER = "[\\p{L}\\p{M}\\p{N}]";
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u; // no spaces between words

/** What matches the words of a query, with up to two letters of an ending; null where it has none. */
function patternOf(query) {
  const words = query.match(new RegExp(`${LETTER}+`, "gu")) ?? [];
  const telling = words.filter((word) => word.length > 3 || UNSPACED.test(word)); // not "the", "und", "les"
  const patterns = (telling.length ? telling : words).map((word) =>
    UNSPACED.test(word) ? word : `(?<!${LETTER})${word}${word.length > 3 ? `${LETTER}{0,2}` : ""}(?!${LETTER})`);
  return patterns.length ? new RegExp(`(${patterns.join("|")})`, "giu") : null;
}

/** A text as nodes in which the words of a query stand out. */
export function marked(text, query) {
  const pattern = patternOf(query);
  if (!pattern) return [text];
  const parts = text.split(pattern); // every other one is a match
  return parts.map((part, at) => (at % 2 ? make("mark", {}, part) : part));
}

/**
 * The places of a query's words among the words of a page.
 *
 * @param words Of the page: [text, left, top, width, height], the last four in shares of its picture.
 */
export function placesOfWords(words, query) {
  const pattern = patternOf(query);
  if (!pattern) return [];
  return words.filter(([text]) => text.search(pattern) >= 0)
    .map(([text, left, top, width, height]) => ({ text, left, top, width, height }));
}
