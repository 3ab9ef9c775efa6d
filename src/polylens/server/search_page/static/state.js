// What is shown, as an address and back. A picture is too long for an address: it lies in the history's own state,
// which reloading and going back keep as well.

/** What ranks, in words; the command line and the guide call the four by these keys. */
export const RANKINGS = { fused: "All together", late: "Place by place", dense: "Whole page", text: "Exact words" };

/** The views of the page. */
const TABS = ["search", "missing", "playground"];

/** How far back, in days; the server counts by the same. */
const SPANS = { week: 7, month: 30, year: 365 };

export const RANKED_BY = "fused"; // unless something else is chosen

/** What a reranker may look at, and for how long. */
const RERANKED = { pages: 20, seconds: 10 };

export function readState() {
  const address = new URLSearchParams(location.search);
  const [since, until] = ["since", "until"].map((name) => dated(address.get(name)));
  return {
    tab: TABS.includes(address.get("tab")) ? address.get("tab") : "search",
    tool: address.get("tool") === "rank" ? "rank" : "compare", // of the playground
    q: address.get("q") ?? "",
    image: history.state?.image ?? null,
    like: address.has("like") ? { file: address.get("like"), page: numbered(address.get("like_page")) } : null,
    by: address.get("by") in RANKINGS ? address.get("by") : RANKED_BY,
    rerank: address.get("rerank") ?? "",
    kinds: address.getAll("kind"),
    languages: address.getAll("language"),
    folder: address.get("folder") ?? "",
    modified: since || until ? "between" : address.get("modified") in SPANS ? address.get("modified") : "",
    since,
    until,
    good: address.get("good") === "yes", // only good matches
    grouped: address.get("grouped") !== "no", // by file
    file: address.get("file"),
    page: numbered(address.get("page")),
  };
}

export function addressOf(state) {
  if (state.tab === "playground") return `/?tab=playground${state.tool === "rank" ? "&tool=rank" : ""}`;
  if (state.tab === "missing") return "/?tab=missing";
  const address = new URLSearchParams();
  if (state.q) address.set("q", state.q);
  if (state.like) {
    address.set("like", state.like.file);
    address.set("like_page", state.like.page);
  }
  if (state.by !== RANKED_BY) address.set("by", state.by);
  if (state.rerank) address.set("rerank", state.rerank);
  for (const kind of state.kinds) address.append("kind", kind);
  for (const language of state.languages) address.append("language", language);
  if (state.folder) address.set("folder", state.folder);
  if (state.modified in SPANS) address.set("modified", state.modified);
  if (state.since) address.set("since", state.since);
  if (state.until) address.set("until", state.until);
  if (state.good) address.set("good", "yes");
  if (!state.grouped) address.set("grouped", "no");
  if (state.file) {
    address.set("file", state.file);
    address.set("page", state.page);
  }
  const written = address.toString();
  return written ? `/?${written}` : "/";
}

/**
 * What the server is to search for; null where nothing is asked.
 *
 * @param leastMatch The least match of a result that is a good one.
 */
export function wishOf(state, leastMatch) {
  if (!state.q && !state.image && !state.like) return null;
  return {
    query: state.q || null,
    image: state.image,
    like: state.like,
    by: state.by,
    group: state.grouped ? "file" : null,
    min_score: state.good ? leastMatch : null,
    rerank: state.rerank && !state.like ? { model: state.rerank, ...RERANKED } : null,
    folder: state.folder || null,
    kinds: state.kinds.length ? state.kinds : null,
    languages: state.languages.length ? state.languages : null,
    since: state.modified in SPANS ? daysAgo(SPANS[state.modified]) : state.since || null,
    until: state.until || null,
  };
}

const dated = (text) => (/^\d{4}-\d{2}-\d{2}$/.test(text ?? "") ? text : "");

/** A day of this place, as ISO 8601 has it. */
function daysAgo(days) {
  const day = new Date();
  day.setDate(day.getDate() - days);
  return [day.getFullYear(), day.getMonth() + 1, day.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
}

const numbered = (text) => Math.max(1, Math.trunc(Number(text)) || 1);

/** Whether anything narrows the pages that are looked among. */
export const numFilters = ({ kinds, languages, folder, modified }) =>
  [kinds.length, languages.length, folder, modified].filter(Boolean).length;

/** What takes all of that away. */
export const WITHOUT_FILTERS = { kinds: [], languages: [], folder: "", modified: "", since: "", until: "" };
