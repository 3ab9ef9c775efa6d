// What was found: asks the server, and keeps the list, which grows as more is asked for.

import * as api from "./api.js";
import { wishOf } from "./state.js";

const STEP = 24; // results at a time
const MOST_AT_ONCE = 200; // that the server gives

let found = null; // the answer, with all results so far; null before anything was asked
let asked = ""; // what it is the answer to
let request = null;
let leastMatch = 0.5; // of a good match; the server knows what suits its model

export const latest = () => found;

/** @param value The least match of a good one, as the server says; undefined where it does not. */
export function setLeastMatch(value) {
  leastMatch = value ?? leastMatch;
}

/**
 * Finds what a state asks for, unless that is what was found last.
 *
 * @param again Whether to ask in any case, for as many results as there are by now.
 * @param started Called if the server is asked.
 * @returns Whether there is another list now. A question that a later one overtook gives false.
 */
export async function search(state, { again = false, started = () => {} } = {}) {
  const wish = wishOf(state, leastMatch);
  const asking = JSON.stringify(wish);
  if (asking === asked && !again) return false;
  const size = asking === asked ? Math.max(STEP, Math.min(MOST_AT_ONCE, found?.asked ?? 0)) : STEP;
  asked = asking;
  request?.abort();
  if (!wish) return replace(null);
  if (state.by === "text" && !state.q) {
    return replace(nothing("full text needs words, and a picture has none; rank by another stage"));
  }
  request = new AbortController();
  started();
  try {
    return replace(first(await api.search({ ...wish, top: size }, request.signal), size, state.grouped));
  } catch (error) {
    if (error.name === "AbortError") return false;
    asked = ""; // to be asked again
    replace(nothing(""));
    throw error;
  }
}

/** Finds the next results; they are added to the list, and returned. */
export async function searchMore(state) {
  const answer = await api.search({ ...wishOf(state, leastMatch), top: STEP, offset: found.asked }, request.signal);
  const before = found.results.length;
  add(found, answer.results, state.grouped);
  found.asked += STEP;
  found.isAll = isLast(answer, STEP) || found.results.length === before;
  return found.results.slice(before);
}

function replace(answer) {
  found = answer;
  return true;
}

const isLast = ({ next, results }, size) => (next === undefined ? results.length < size : next === null);

const nothing = (reason) => ({ results: [], seconds: 0, reason, asked: 0, isAll: true });

function first(answer, size, grouped) {
  const list = { ...answer, results: [], asked: size, isAll: isLast(answer, size) };
  add(list, answer.results, grouped);
  return list;
}

/** Adds what is not there yet: between two questions the index may have changed, and with it the places in the list. */
function add(list, results, grouped) {
  const isSame = (one, other) => one.file === other.file && one.page === other.page;
  for (const result of results) {
    const same = list.results.find((each) => (grouped ? each.file === result.file : isSame(each, result)));
    const others = result.others ?? [];
    if (!same) list.results.push({ ...result, others });
    else if (grouped) {
      const isNew = (other) => ![same, ...same.others].some((each) => isSame(each, other));
      same.others.push(...[result, ...others].filter(isNew));
    }
  }
}

/** All pages of the list, those below another page of their file as well. */
export const allPages = () => (found?.results ?? []).flatMap((each) => [each, ...each.others]);
